//! When something gives out: a full pool, a dead Postgres, a caller that hangs up. Never a hang, never a
//! half-done write.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::proxy::Proxy;
use crate::harness::{Cluster, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool_answers_503_in_time_and_starves_nobody_else() {
    let app = TestApp::start_with(|config| config.database.write_connections = 2).await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is broken.").await;
    let held = (app.db().write(tenant.id).await.expect("one"), app.db().write(tenant.id).await.expect("two"));

    let started = Instant::now();
    let refused = tenant.post("/v1/agents/ada/remember", json!({"content": "x"})).await;
    refused.assert_problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), "1");
    assert!(started.elapsed() < Duration::from_millis(1200), "{:?}", started.elapsed());
    assert_eq!(tenant.recalled("ada", json!({"query": "kettle"})).await.len(), 1, "searches have a pool of their own");

    drop(held);
    tenant.remember("ada", "and again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_every_call_is_a_503_and_service_returns_with_it() {
    let cluster = Cluster::own().await;
    let app = TestApp::start_on(cluster.clone(), |_| {}).await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is broken.").await;
    cluster.kill();
    for _ in 0..5 {
        let started = Instant::now();
        let refused = tenant.post("/v1/agents/ada/recall", json!({"query": "kettle"})).await;
        assert_eq!(refused.status, 503, "{}", refused.text);
        assert!(!refused.header("retry-after").is_empty());
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
    assert_eq!(app.stranger().get("/livez").await.status, 200);
    assert_eq!(app.stranger().get("/readyz").await.expect(503)["database"]["ok"], false);

    cluster.restart().await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while tenant.post("/v1/agents/ada/recall", json!({"query": "kettle"})).await.status != 200 {
        assert!(Instant::now() < deadline, "no recovery within ten seconds");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(tenant.recalled("ada", json!({"query": "kettle"})).await, ["The kettle is broken."]);
    assert_eq!(app.stranger().get("/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hangs_up_leaves_no_open_transaction() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is broken.").await;
    let proxy = Proxy::start(app.database.cluster.socket()).await;
    let slowed =
        app.sibling_through(proxy.options(&app.database.name), |config| config.database.write_connections = 1).await;
    let caller = tenant.client.at(slowed.url());
    caller.remember("ada", "connected").await;
    for step in 0..12 {
        proxy.allow(step);
        let content = json!({"content": format!("abandoned {step}")});
        let hung_up =
            tokio::time::timeout(Duration::from_millis(40), caller.post("/v1/agents/ada/remember", content)).await;
        proxy.release();
        // The connection that was in use must serve the next caller, and its write must be seen by all.
        let kept = format!("kept {step}");
        caller.remember("ada", &kept).await;
        let found = tenant.recalled("ada", json!({"query": kept, "mode": "lexical", "k": 100})).await;
        assert!(found.contains(&kept), "after hanging up at step {step} ({})", hung_up.is_err());
    }
    let mut superuser = app.database.superuser().await;
    let open: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'")
        .fetch_one(&mut superuser)
        .await
        .expect("counts");
    assert_eq!(open, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_never_answers_is_given_up() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is broken.").await;
    let proxy = Proxy::start(app.database.cluster.socket()).await;
    let cut_off = app.sibling_through(proxy.options(&app.database.name), |_| {}).await;
    let caller = tenant.client.at(cut_off.url());
    caller.get("/v1/agents/ada").await.expect(200);
    proxy.allow(0);
    let started = Instant::now();
    caller.get("/v1/agents/ada").await.assert_problem(504, "timeout");
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
    proxy.release();
}
