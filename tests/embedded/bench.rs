//! The benchmarks that start servers of their own: every case is measured, and nothing stays behind.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::site::{Site, signal, wait_until};

/// What it wrote, and that nothing runs or is stored any more.
fn figures(site: &Site, verb: &[&str]) -> Value {
    let file = site.dir.path().join("figures.json");
    let file = file.to_str().expect("UTF-8");
    site.done(&[verb, &["--json", file]].concat());
    assert_nothing_is_left(site);
    serde_json::from_slice(&fs::read(file).expect("a file")).expect("JSON")
}

fn assert_nothing_is_left(site: &Site) {
    assert_eq!(site.processes(), [0; 0], "something still runs");
    assert_eq!(site.done(&["tenant", "list"]).lines().count(), 1, "the head of the table");
}

fn row<'a>(figures: &'a Value, case: &str) -> &'a Value {
    let rows = figures["rows"].as_array().expect("rows");
    let row = rows.iter().find(|row| row["case"] == case).unwrap_or_else(|| panic!("no {case}: {figures:#}"));
    assert!(row["latency_ms"]["count"].as_u64() > Some(0) && row["calls_per_second"].as_f64() > Some(0.0), "{row:#}");
    row
}

#[test]
fn recalls_are_measured_by_where_their_answers_come_from() {
    let site = Site::new();
    let verb = ["bench", "recall", "--memories", "150", "--questions", "5", "--clients", "2", "--seconds", "1"];
    let figures = figures(&site, &verb);
    for part in ["/livez", "gate, in process", "gate, over HTTP", "Redis GET"] {
        assert_eq!(row(&figures, part)["hit_ratio"], Value::Null, "{part} asks no cache");
    }
    let (local, redis) = (row(&figures, "recall: hit, local"), row(&figures, "recall: hit, Redis"));
    assert_eq!((&local["hit_ratio"], &local["hits_redis"]), (&1.0.into(), &0.into()), "{local:#}");
    assert_eq!((&redis["hit_ratio"], &redis["hits_local"]), (&1.0.into(), &0.into()), "{redis:#}");
    assert_eq!(row(&figures, "recall: miss")["hit_ratio"], 0.0);
    assert_eq!(row(&figures, "recall: miss, embedded")["hit_ratio"], Value::Null);
    let cold = row(&figures, "recall: from cold");
    assert!(cold["hits_local"].as_u64() > Some(0) && cold["misses"].as_u64() > Some(0), "{cold:#}");
    assert_eq!(figures["first_answer_ms"]["count"], 5);
    assert_eq!(figures["targets"].as_array().map(Vec::len), Some(10));
}

#[test]
fn remembering_is_measured_and_so_is_what_a_memory_takes() {
    let site = Site::new();
    let verb = ["bench", "ingest", "--clients", "2", "--seconds", "1", "--texts", "100", "--grow", "1000"];
    let figures = figures(&site, &verb);
    for case in ["remember, embedded, 1 agent", "remember, embedded, 16 agents", "import, 100 a batch"] {
        assert!(row(&figures, case)["calls_per_second"].as_f64() > Some(0.0), "{case}");
    }
    let tenths: Vec<_> = figures["growth"].as_array().into_iter().flatten().collect();
    assert_eq!(tenths.len(), 10);
    assert!(tenths.iter().all(|tenth| tenth["latency_ms"]["count"] == 100), "{tenths:?}");
    for place in ["vector", "text", "postgres_heap", "postgres_indexes", "hot_index", "redis"] {
        assert!(figures["sizes"][place].as_f64() > Some(10.0), "{place}: {}", figures["sizes"]);
    }
    assert_eq!(figures["targets"].as_array().map(Vec::len), Some(4));
}

#[test]
fn costs_are_measured_and_drawn_as_memories_grow() {
    let site = Site::new();
    let drawing = site.dir.path().join("curve.svg");
    let path = drawing.display().to_string();
    let size = ["--memories", "100,300", "--agents", "1,10", "--seconds", "1", "--svg", &path];
    let figures = figures(&site, &[&["bench", "curve"][..], &size].concat());
    let points: Vec<_> = figures["points"].as_array().into_iter().flatten().collect();
    let sizes: Vec<_> = points.iter().map(|point| (point["agents"].as_u64(), point["memories"].as_u64())).collect();
    assert_eq!(sizes, [(1, 100), (1, 300), (10, 100), (10, 300)].map(|(agents, size)| (Some(agents), Some(size))));
    assert!(points.iter().all(|point| point["way"] == "hot_index" && point["remember"]["count"] != 0), "{points:?}");
    let drawn = fs::read_to_string(&drawing).expect("a drawing");
    assert!(drawn.starts_with("<svg") && drawn.contains("10 agent(s)"), "{drawn}");
}

#[test]
fn without_redis_the_rest_is_measured() {
    let mut site = Site::new();
    site.set("CAIRN_CACHE__REDIS_URL", "off");
    let verb = ["bench", "recall", "--memories", "20", "--questions", "2", "--clients", "1", "--seconds", "1"];
    let figures = figures(&site, &verb);
    assert_eq!(row(&figures, "recall: hit, local")["hit_ratio"], 1.0);
    let cases: Vec<_> = figures["rows"].as_array().into_iter().flatten().map(|row| &row["case"]).collect();
    assert!(!cases.iter().any(|case| case.as_str().is_some_and(|case| case.contains("Redis"))), "{cases:?}");
}

#[test]
fn many_circles_are_measured_beside_one_and_so_is_a_crowd() {
    let site = Site::new();
    let size = ["--circles", "3", "--memories", "120", "--members", "1001", "--questions", "5"];
    let verb = [&["bench", "circles", "--clients", "2", "--seconds", "1"][..], &size].concat();
    let figures = figures(&site, &verb);
    for agent in ["many circles", "one circle"] {
        assert_eq!(row(&figures, &format!("recall, {agent}: hit, local"))["hit_ratio"], 1.0);
        assert_eq!(row(&figures, &format!("recall, {agent}: computed"))["hit_ratio"], Value::Null);
        assert_eq!(row(&figures, &format!("recall, {agent}: miss"))["hit_ratio"], 0.0);
        assert_eq!(row(&figures, &format!("gate, {agent}, in process"))["hit_ratio"], Value::Null);
    }
    assert_eq!(row(&figures, "context: hit, local")["hits_redis"], 0);
    assert_eq!(row(&figures, "context: computed")["hit_ratio"], Value::Null);
    assert_eq!(figures["crowd"]["members"], 1001);
    assert!(figures["crowd"]["adding_ms"].as_f64() > Some(0.0) && figures["crowd"]["deleting_ms"].as_f64() > Some(0.0));
    assert_eq!(figures["targets"].as_array().map(Vec::len), Some(7));
}

#[test]
fn a_tenant_far_over_its_quota_is_measured_beside_a_steady_one() {
    let site = Site::new();
    let size = ["--memories", "100", "--seconds", "5", "--quota", "2", "--times", "10", "--steady", "5"];
    let figures = figures(&site, &[&["bench", "fairness"][..], &size].concat());
    for (side, refuses) in [(0, true), (1, false)] {
        let side = &figures["sides"][side];
        assert_eq!(side["alone"]["errors"], 0, "{side:#}");
        assert!(!refuses || side["beside"]["errors"] == 0, "limits keep the other tenant's load away: {side:#}");
        assert!(side["beside"]["latency_ms"]["count"].as_u64() > Some(10), "{side:#}");
        let refused = side["crowd"]["statuses"]["429"].as_u64().unwrap_or_default();
        assert_eq!(refused > 0, refuses, "{side:#}");
        assert_eq!(side["crowd"]["told_when"], refused, "each of them says when to come again");
    }
    assert_eq!(figures["targets"].as_array().map(Vec::len), Some(4));
}

#[test]
fn an_interrupted_benchmark_leaves_no_tenant_behind() {
    let site = Site::new();
    let running = site.spawn(&["bench", "recall", "--memories", "1000000"]);
    // A plain line of progress: it is filling its tenant.
    wait_until("it has begun", || running.read("err").contains("memories"));
    signal(running.id(), Signal::SIGINT);
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.ends_with("cairn: interrupted\n"), "{}", outcome.stderr);
    assert_nothing_is_left(&site);
}

#[test]
fn embeddings_are_measured_by_where_they_come_from_and_the_local_layer_beside_others() {
    let site = Site::new();
    let figures = figures(&site, &["bench", "embed-cache", "--texts", "20", "--clients", "1", "--seconds", "1"]);
    row(&figures, "embedding: miss");
    for (case, counted) in [("embedding: hit, local", "hits_local"), ("embedding: hit, Redis", "hits_redis")] {
        let calls = row(&figures, case)["latency_ms"]["count"].as_u64();
        // The cache counted what came before the measurement began as well.
        assert!(figures[counted].as_u64() >= calls, "{case}: {figures:#}");
    }
    let again = &figures["hit_rates"]["sequences"][1];
    let share = |policy: &str| again[policy].as_f64().expect("a share");
    assert!(share("local_layer") > share("fifo") + 0.01, "a text used again and again stays: {again:#}");
    assert!(share("lru") > share("fifo") && share("best") >= share("local_layer"), "{again:#}");
}
