//! What `/metrics` shows of a server that is used: as Prometheus has it, and as docs/metrics.md says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::caches::Pair;
use crate::harness::{Client, TestApp};

const PAGE: &str = include_str!("../../docs/metrics.md");

/// Units that Prometheus does without, and what stands for them.
const WRONG_UNITS: [&str; 7] = ["_ms", "_millis", "_micros", "_minutes", "_kb", "_mb", "_percent"];

#[derive(Debug, Default, PartialEq, Eq)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
}

/// The metrics of a scrape by name; those without a series have no labels.
fn scraped(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    for line in text.lines() {
        if let Some(of_type) = line.strip_prefix("# TYPE ") {
            let (name, kind) = of_type.split_once(' ').expect("a type");
            metrics.insert(name.to_owned(), Metric { kind: kind.to_owned(), ..Metric::default() });
        } else if !line.starts_with('#') {
            let (series, _) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let metric = match family.filter(|family| metrics.contains_key(*family)) {
                Some(family) => metrics.get_mut(family),
                None => metrics.get_mut(name),
            };
            let names = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            metric.expect("a type before its series").labels.extend(names.filter(|name| name != "le"));
        }
    }
    metrics
}

/// The metrics in the tables of the page.
fn described() -> BTreeMap<String, Metric> {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let rows = rows.filter(|(name, _)| name.starts_with("cairn_") || name.starts_with("process_"));
    rows.map(|(name, rest)| {
        let mut columns = rest.split('|').map(str::trim);
        let (kind, labels) = (columns.next().expect("a type").to_owned(), columns.next().expect("labels"));
        let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (name.to_owned(), Metric { kind, labels })
    })
    .collect()
}

async fn scrape(app: &TestApp) -> String {
    app.stranger().get("/metrics").await.text
}

/// Misses, hits and refusals, with whatever they set in motion.
async fn use_it(client: &Client) {
    client.remember("ada", "The kettle is in the kitchen.").await;
    for _ in 0..2 {
        client.recall("ada", json!({"query": "Where is the kettle?"})).await;
    }
    client.post("/v1/agents/ada/recall", json!({})).await.assert_problem(422, "field_missing");
}

fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_describes_every_metric_and_none_that_is_not_there() {
    let pair = Pair::start().await;
    use_it(&pair.tenant).await;
    let scraped = scraped(&scrape(&pair.here).await);
    let described = described();
    for (name, metric) in &scraped {
        assert_eq!(described.get(name), Some(metric), "docs/metrics.md says otherwise of {name}");
    }
    let vain: Vec<_> = described.keys().filter(|name| !scraped.contains_key(*name)).collect();
    assert!(vain.is_empty(), "docs/metrics.md describes what is not there: {vain:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_units_are_those_of_prometheus() {
    let pair = Pair::start().await;
    use_it(&pair.tenant).await;
    let text = scrape(&pair.here).await;
    for (name, Metric { kind, .. }) in scraped(&text) {
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        assert!(kind != "histogram" || name.ends_with("_seconds"), "{name} has no base unit");
        assert!(!WRONG_UNITS.iter().any(|unit| name.contains(unit)), "{name} has no base unit");
        let help = text.lines().find_map(|line| line.strip_prefix(&format!("# HELP {name} ")));
        assert!(help.is_some_and(|help| help.ends_with('.')), "{name}: {help:?}");
    }
    assert!(!text.contains(&pair.tenant.id.to_string()), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recall_is_measured_stage_by_stage_and_a_hit_in_two() {
    let app = TestApp::start_with(|config| config.cache.verify_one_in = 0).await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is in the kitchen.").await;
    let measured = async || {
        let text = scrape(&app).await;
        let stages = ["gate", "cache", "embed", "candidates", "rank", "pack", "serialise"];
        let count =
            |stage| value(&text, &format!("cairn_recall_stage_duration_seconds_count{{stage=\"{stage}\"}}")) as u64;
        stages.map(count)
    };
    assert_eq!(measured().await, [0; 7], "a write is no recall");
    tenant.recall("ada", json!({"query": "Where is the kettle?"})).await;
    assert_eq!(measured().await, [1; 7]);
    tenant.recall("ada", json!({"query": "Where is the kettle?"})).await;
    assert_eq!(measured().await, [2, 2, 1, 1, 1, 1, 1]);
    tenant.recall("ada", json!({"query": "Where is the kettle?", "cache": "bypass"})).await;
    assert_eq!(measured().await, [3, 2, 2, 2, 2, 2, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_seldom_is_counted_from_nought() {
    let app = TestApp::start().await;
    let text = scrape(&app).await;
    for series in [
        "cairn_http_requests_total{method=\"GET\",route=\"unmatched\",status=\"500\"}",
        "cairn_embedding_calls_total{outcome=\"failed\",provider=\"hashed\"}",
        "cairn_embedding_retries_total",
        "cairn_embedding_breakers_open",
        "cairn_events_lagged_total{subscriber=\"cache\"}",
        "cairn_cache_mismatch_total",
        "cairn_database_wait_seconds_count{pool=\"search\"}",
    ] {
        assert_eq!(value(&text, series), 0.0, "{series}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_and_calls_are_counted_where_they_happen() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    use_it(&tenant).await;
    let text = scrape(&app).await;
    for pool in ["gate", "search", "write"] {
        let waited = value(&text, &format!("cairn_database_wait_seconds_count{{pool=\"{pool}\"}}"));
        assert!(waited >= 1.0, "{pool}");
    }
    assert!(value(&text, "cairn_embedding_call_duration_seconds_count{provider=\"hashed\"}") >= 2.0);
    assert!(value(&text, "cairn_event_delivery_seconds_count{subscriber=\"cache\"}") >= 1.0);
    let refused = "cairn_http_request_duration_seconds_count{method=\"POST\",route=\"/v1/agents/{agent_id}/recall\",status=\"4xx\"}";
    assert_eq!(value(&text, refused), 1.0);
}
