//! What a run does: answers are ready before somebody asks, and the report says how that went.

use std::time::{Duration, Instant};

use cairn::config::Config;
use serde_json::{Value, json};

use crate::harness::{Client, Tenant, TestApp};

async fn start_with(change: impl FnOnce(&mut Config)) -> (TestApp, Tenant) {
    let app = TestApp::start_with(|config| {
        config.jobs.enabled = true;
        config.warmups.items_per_second = 1_000;
        config.usage.write_secs = 1;
        change(config);
    })
    .await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is in the kitchen.").await;
    (app, tenant)
}

fn warmup(targets: Value) -> Value {
    json!({"name": "test", "cron": "0 0 1 1 *", "targets": targets})
}

/// The paths of a new warm-up and of a run of it.
async fn run(tenant: &Client, targets: Value) -> (String, String) {
    let warmup = tenant.post("/v1/warmups", warmup(targets)).await.expect(201);
    let path = format!("/v1/warmups/{}", warmup["id"].as_str().expect("an id"));
    let run = tenant.post(&format!("{path}/run"), json!({})).await.expect(202);
    let run = format!("{path}/runs/{}", run["id"].as_str().expect("an id"));
    (path, run)
}

async fn wait_for(tenant: &Client, run: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..600 {
        let seen = tenant.get(run).await.expect(200);
        if is_so(&seen) {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited in vain: {}", tenant.get(run).await.text);
}

async fn ended(tenant: &Client, run: &str) -> Value {
    wait_for(tenant, run, |run| !run["finished_at"].is_null()).await
}

async fn source(tenant: &Client, agent: &str, query: &str) -> String {
    let answer = tenant.post(&format!("/v1/agents/{agent}/recall"), json!({"query": query})).await;
    answer.expect(200);
    answer.header("cairn-cache").split(';').next().unwrap_or_default().to_owned()
}

/// What was asked is written down every second.
async fn wait_until_counted(tenant: &Client, recalls: u64) {
    for _ in 0..200 {
        let analytics = tenant.get("/v1/cache/analytics?window=1h&step=5m").await.expect(200);
        if analytics["top_queries"][0]["recalls"].as_u64() >= Some(recalls) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited in vain for {recalls} recalls to be counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_makes_answers_ready_and_reports_it() {
    let (_app, tenant) = start_with(|_| {}).await;
    tenant.put("/v1/circles/kitchen", json!({"name": "Kitchen"})).await.expect(201);
    let queries = json!(["Where is the kettle?", "Who broke the cup?"]);
    let targets = json!([
        {"agent_id": "ada", "queries": queries},
        {"circle_id": "kitchen", "queries": ["What do we buy?"], "context": true},
        {"agent_id": "nobody", "queries": ["Is anybody there?"]},
    ]);
    let (path, first) = run(&tenant, targets).await;
    let done = ended(&tenant, &first).await;
    let report = &done["report"];
    assert_eq!((&done["state"], &done["cause"], &done["attempt"]), (&json!("succeeded"), &json!("manual"), &json!(1)));
    let counts = |report: &Value| {
        ["items", "warmed", "already_warm", "failed", "embedding_calls"].map(|name| report[name].as_u64())
    };
    assert_eq!(counts(report), [5, 4, 0, 1, 3].map(Some), "{report}");
    assert_eq!(report["failures"][0]["item"], "/targets/2/queries/0", "{report}");
    for query in ["Where is the kettle?", "Who broke the cup?"] {
        assert_eq!(source(&tenant, "ada", query).await, "hit");
    }
    let circle = tenant.post("/v1/circles/kitchen/recall", json!({"query": "What do we buy?"})).await;
    assert!(circle.header("cairn-cache").starts_with("hit"));
    assert!(tenant.get("/v1/circles/kitchen/context").await.header("cairn-cache").starts_with("hit"));
    // What changed in between is made ready again, the rest is left as it is.
    tenant.remember("ada", "The cup was broken by the cat.").await;
    let second = tenant.post(&format!("{path}/run"), json!({})).await.expect(202);
    let second = format!("{path}/runs/{}", second["id"].as_str().expect("an id"));
    let report = ended(&tenant, &second).await["report"].clone();
    assert_eq!(counts(&report), [5, 2, 2, 1, 0].map(Some), "{report}");
    let runs = tenant.get(&format!("{path}/runs")).await.expect(200);
    assert_eq!(runs["items"].as_array().expect("runs").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_change_made_stale_is_not_taken_for_warm_though_no_event_told_of_it() {
    let (app, tenant) = start_with(|_| {}).await;
    source(&tenant, "ada", "Where is the kettle?").await;
    app.app.bus.close();
    tenant.remember("ada", "The kettle was moved.").await;
    let (_, run) = run(&tenant, json!([{"agent_id": "ada", "queries": ["Where is the kettle?"]}])).await;
    let report = ended(&tenant, &run).await["report"].clone();
    assert_eq!((&report["warmed"], &report["already_warm"]), (&json!(1), &json!(0)), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn warming_is_no_hit_and_no_miss() {
    let (_app, tenant) = start_with(|_| {}).await;
    let (_, run) = run(&tenant, json!([{"agent_id": "ada", "queries": ["Where is the kettle?"]}])).await;
    ended(&tenant, &run).await;
    let stats = tenant.get("/v1/cache/stats").await.expect(200);
    let recall =
        stats["kinds"].as_array().expect("kinds").iter().find(|kind| kind["kind"] == "recall").expect("recall");
    assert_eq!(recall["hit_rate"], Value::Null, "{recall}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_up_that_is_due_runs_by_itself() {
    let (_app, tenant) = start_with(|_| {}).await;
    let each_second =
        json!({"name": "x", "cron": "* * * * * *", "targets": [{"agent_id": "ada", "queries": ["kettle"]}]});
    let warmup = tenant.post("/v1/warmups", each_second).await.expect(201);
    let path = format!("/v1/warmups/{}", warmup["id"].as_str().expect("an id"));
    let done = |runs: &Value| {
        runs["items"].as_array().expect("runs").iter().filter(|run| run["state"] == "succeeded").count() >= 2
    };
    let runs = wait_for(&tenant, &format!("{path}/runs"), done).await;
    assert_eq!(runs["items"][0]["cause"], "schedule");
    assert_eq!(source(&tenant, "ada", "kettle").await, "hit");
    tenant.patch(&path, json!({"enabled": false})).await.expect(200);
    // A run that was due before may still be waiting.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let count = async || tenant.get(&format!("{path}/runs")).await.expect(200)["items"].as_array().expect("runs").len();
    let before = count().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(count().await, before, "it is not enabled any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_frequent_recalls_are_asked_again_where_they_may_be_known() {
    let (_app, tenant) = start_with(|_| {}).await;
    let targets = json!([{"agent_id": "ada", "top_queries": 5}]);
    let (path, first) = run(&tenant, targets).await;
    let report = ended(&tenant, &first).await["report"].clone();
    assert!(report["failures"][0]["reason"].as_str().expect("a reason").contains("keep_queries"), "{report}");
    tenant.patch("/v1/tenant", json!({"keep_queries": true})).await.expect(200);
    let question = json!({"query": "Where is the kettle?", "k": 3, "filter": {"kinds": ["fact"]}});
    for _ in 0..3 {
        tenant.post("/v1/agents/ada/recall", question.clone()).await.expect(200);
    }
    wait_until_counted(&tenant, 3).await;
    tenant.remember("ada", "The kettle was moved to the attic.").await;
    let second = tenant.post(&format!("{path}/run"), json!({})).await.expect(202);
    let second = format!("{path}/runs/{}", second["id"].as_str().expect("an id"));
    let report = ended(&tenant, &second).await["report"].clone();
    assert_eq!((&report["items"], &report["warmed"]), (&json!(1), &json!(1)), "{report}");
    let answer = tenant.post("/v1/agents/ada/recall", question).await;
    assert!(answer.header("cairn-cache").starts_with("hit"), "{}", answer.header("cairn-cache"));
    assert!(answer.text.contains("attic"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_keeps_to_its_rate_and_ends_when_it_is_told_to() {
    let (_app, tenant) = start_with(|config| config.warmups.items_per_second = 5).await;
    let queries: Vec<String> = (0..8).map(|number| format!("question {number}")).collect();
    let started = Instant::now();
    let (_, whole) = run(&tenant, json!([{"agent_id": "ada", "queries": queries}])).await;
    let done = ended(&tenant, &whole).await;
    assert!(started.elapsed() > Duration::from_millis(1_400), "eight items at five a second");
    assert_eq!(done["report"]["warmed"], 8);

    let queries: Vec<String> = (0..100).map(|number| format!("another question {number}")).collect();
    let (_, cut) = run(&tenant, json!([{"agent_id": "ada", "queries": queries}])).await;
    wait_for(&tenant, &cut, |run| run["state"] == "running").await;
    tenant.post(&format!("{cut}/cancel"), json!({})).await.expect(200);
    let done = ended(&tenant, &cut).await;
    assert_eq!(done["state"], "cancelled");
    assert!(done["report"]["warmed"].as_u64().is_some_and(|warmed| warmed < 100), "{done}");
    tenant.post(&format!("{cut}/cancel"), json!({})).await.expect(200);
    tenant.post(&format!("{whole}/cancel"), json!({})).await.assert_problem(409, "wrong_state");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_one_run_at_a_time_and_another_tenant_does_not_wait_for_it() {
    let (app, tenant) = start_with(|config| config.warmups.items_per_second = 5).await;
    let other = app.new_tenant().await;
    other.remember("ada", "The kettle is in the kitchen.").await;
    let long: Vec<String> = (0..30).map(|number| format!("question {number}")).collect();
    let (_, first) = run(&tenant, json!([{"agent_id": "ada", "queries": long}])).await;
    wait_for(&tenant, &first, |run| run["state"] == "running").await;
    let short = json!([{"agent_id": "ada", "queries": ["kettle"]}]);
    let (_, second) = run(&tenant, short.clone()).await;
    let (_, others) = run(&other, short).await;
    ended(&other, &others).await;
    assert_eq!(tenant.get(&second).await.expect(200)["state"], "queued");
    assert_eq!(tenant.get(&first).await.expect(200)["state"], "running");
    tenant.post(&format!("{first}/cancel"), json!({})).await.expect(200);
    ended(&tenant, &second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_often_keeps_its_place() {
    // Room for a few hundred answers.
    let (app, tenant) = start_with(|config| config.cache.local_mb = 1).await;
    let long = "A long memory about the kettle. ".repeat(40);
    for number in 0..10 {
        tenant.remember("ada", &format!("{long}{number}")).await;
    }
    // Who is asked how often is counted from when the layer is half full.
    for number in 0..80 {
        source(&tenant, "ada", &format!("filling kettle {number}")).await;
    }
    let hot: Vec<String> = (0..20).map(|number| format!("hot kettle {number}")).collect();
    for _ in 0..5 {
        for query in &hot {
            source(&tenant, "ada", query).await;
        }
    }
    let cold: Vec<String> = (0..100).map(|number| format!("cold kettle {number}")).collect();
    let (_, run) = run(&tenant, json!([{"agent_id": "ada", "queries": cold}])).await;
    let report = ended(&tenant, &run).await["report"].clone();
    assert_eq!(report["warmed"], 100, "{report}");
    app.app.cache.tidy();
    let (stats, _) = app.app.cache.stats().of(tenant.id);
    assert!(stats.local(cairn::cache::Kind::Recall).0 < 100, "there is no room for all");
    for query in &hot {
        assert_eq!(source(&tenant, "ada", query).await, "hit", "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_says_what_it_did_for_those_who_asked_afterwards() {
    let (_app, tenant) = start_with(|_| {}).await;
    source(&tenant, "ada", "Where is the kettle?").await;
    wait_until_counted(&tenant, 1).await;
    tenant.remember("ada", "The kettle was moved.").await;
    let (_, run) = run(&tenant, json!([{"agent_id": "ada", "queries": ["Where is the kettle?"]}])).await;
    ended(&tenant, &run).await;
    source(&tenant, "ada", "Where is the kettle?").await;
    // The recall before may be of another minute, or of the same.
    let counted = |run: &Value, when: &str| run["effect"][when]["recalls"].as_i64().unwrap_or(0);
    let told = wait_for(&tenant, &run, |run| counted(run, "before") + counted(run, "after") == 2).await;
    let after = &told["effect"]["after"];
    assert!(counted(&told, "after") >= 1 && after["hit_rate"].as_f64() >= Some(0.5), "{told}");
    assert_eq!(told["effect"]["complete"], false);
}
