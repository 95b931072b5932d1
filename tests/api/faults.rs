//! When something gives out: a full pool, a dead Postgres, a caller that hangs up. Never a hang, never a
//! half-done write.

use std::time::{Duration, Instant};

use cairn::auth::{self, NewKey, Permissions};
use cairn::db::{Db, WriteTx};
use cairn::ids::{KeyId, TenantId};
use cairn::words::Name;
use futures_util::future::join_all;
use rand::RngExt;
use serde_json::json;

use crate::harness::proxy::Proxy;
use crate::harness::{Client, Cluster, Database, Tenant, TestApp};

/// Takes every connection for writes, and keeps using them: an idle transaction would be ended.
async fn hold_writes(app: &TestApp, tenant: &Tenant, time: Duration) {
    let deadline = Instant::now() + time;
    let size = app.app.config.database.write_connections;
    let mut held: Vec<WriteTx> = Vec::new();
    for _ in 0..size {
        held.push(app.db().write(tenant.id).await.expect("a connection"));
    }
    while Instant::now() < deadline {
        for tx in &mut held {
            sqlx::query("SELECT 1").execute(&mut ***tx).await.expect("it is in use");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn a_full_pool_degrades(time: Duration) {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is broken.").await;
    let (mut refused, mut recalled) = (0, 0);
    let used_up = async {
        // Until the last connection is taken.
        while app.db().pools_in_use()[2].open < app.app.config.database.write_connections as usize {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let until = Instant::now() + time - Duration::from_secs(2);
        while Instant::now() < until {
            let started = Instant::now();
            let answer = tenant.post("/v1/agents/ada/remember", json!({"content": "x"})).await;
            answer.assert_problem(503, "overloaded");
            assert_eq!(answer.header("retry-after"), "1");
            assert!(started.elapsed() < Duration::from_millis(1200), "{:?}", started.elapsed());
            refused += 1;
            let started = Instant::now();
            assert_eq!(tenant.recalled("ada", json!({"query": "kettle"})).await, ["The kettle is broken."]);
            assert!(
                started.elapsed() < Duration::from_millis(800),
                "searches wait for nobody: {:?}",
                started.elapsed()
            );
            recalled += 1;
        }
    };
    tokio::join!(hold_writes(&app, &tenant, time), used_up);
    assert!(refused > 1 && recalled > 1, "{refused} {recalled}");
    let released = Instant::now();
    while tenant.post("/v1/agents/ada/remember", json!({"content": "and again"})).await.status != 201 {
        assert!(released.elapsed() < Duration::from_secs(5), "no recovery within five seconds");
    }
    println!(
        "held {time:?}: {refused} writes refused, {recalled} recalls answered, back after {:?}",
        released.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool_answers_503_in_time_and_starves_nobody_else() {
    a_full_pool_degrades(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute; `make chaos`"]
async fn a_pool_that_is_full_for_a_minute_starves_nobody_else() {
    a_full_pool_degrades(Duration::from_secs(60)).await;
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
    // With a key, a write is a transaction of many statements; without, one call of a function.
    for (step, key) in (0..12).map(|step| (step, Some("k"))).chain((0..3).map(|step| (step, None))) {
        proxy.allow(step);
        let content = json!({"content": format!("abandoned {step} {key:?}"), "key": key});
        let hung_up =
            tokio::time::timeout(Duration::from_millis(40), caller.post("/v1/agents/ada/remember", content)).await;
        proxy.release();
        // The connection that was in use must serve the next caller, and its write must be seen by all.
        let kept = format!("kept {step} {key:?}");
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

/// One request after the other; two of three are given up after a moment. Which writes were acknowledged.
async fn impatient(caller: Client, who: usize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for turn in 0..25 {
        let content = format!("Stone {turn} of caller {who} lies in the garden.");
        let patience_ms = if turn % 3 == 0 { 20_000 } else { rand::rng().random_range(0..=400) };
        let body = json!({ "content": content });
        let answer = tokio::time::timeout(
            Duration::from_millis(patience_ms),
            caller.post(&format!("/v1/agents/agent-{who}/remember"), body),
        )
        .await;
        match answer.map(|answer| answer.status) {
            Ok(201) => acknowledged.push(content),
            Ok(503) | Err(_) => {}
            Ok(other) => panic!("{other} for {content}"),
        }
    }
    acknowledged
}

/// Watches until nobody has had a transaction open for two seconds. Between two steps of a live one there is a
/// fraction of a second; Postgres itself ends an idle one after five.
async fn settle(database: &Database) {
    let mut superuser = database.superuser().await;
    let mut calm = Instant::now();
    while calm.elapsed() < Duration::from_secs(2) {
        let idle_secs: Option<f64> = sqlx::query_scalar(
            "SELECT extract(epoch FROM max(clock_timestamp() - state_change))::float8
               FROM pg_stat_activity
              WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
        )
        .fetch_one(&mut superuser)
        .await
        .expect("an age");
        if let Some(idle_secs) = idle_secs {
            assert!(idle_secs < 3.0, "a transaction stays open that nobody works in");
            calm = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The same inside the server: handlers that are dropped while their unit of work is under way. Which keys were
/// acknowledged.
async fn dropped(db: Db, tenant: TenantId) -> Vec<KeyId> {
    let mut acknowledged = Vec::new();
    for _ in 0..25 {
        let (own, name) = (db.clone(), Name::parse("dropped").expect("a name"));
        let new = NewKey { name, scopes: Permissions::all(), agent_id: None, expires_at: None };
        let work = db.run(async move { auth::create_key(&own, tenant, "live", &new).await });
        let patience = Duration::from_millis(rand::rng().random_range(0..=200));
        if let Ok(issued) = tokio::time::timeout(patience, work).await {
            acknowledged.push(issued.expect("a connection was free").key.id);
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_that_are_dropped_at_random_poison_no_connection() {
    let cluster = Cluster::own().await;
    let app = TestApp::start_on(cluster.clone(), |_| {}).await;
    let tenant = app.new_tenant().await;
    let proxy = Proxy::start(cluster.socket()).await;
    let slowed = app
        .sibling_through(proxy.options(&app.database.name), |config| config.database.acquire_timeout_ms = 20_000)
        .await;
    proxy.slow(Duration::from_millis(50));
    let acknowledged = join_all((0..6).map(|_| dropped(slowed.db().clone(), tenant.id))).await.concat();
    assert!((20..140).contains(&acknowledged.len()), "some waited, some did not: {} of 150", acknowledged.len());
    settle(&app.database).await;
    let kept = auth::list_keys(app.db(), tenant.id).await.expect("the keys");
    for key in acknowledged {
        assert!(kept.iter().any(|kept| kept.id == key), "acknowledged and lost: {key}");
    }
    assert_eq!(kept.len(), 151, "what was begun was also finished");
    nobody_was_confused(&cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_hang_up_at_random_poison_no_connection() {
    let cluster = Cluster::own().await;
    let app = TestApp::start_on(cluster.clone(), |_| {}).await;
    let tenant = app.new_tenant().await;
    let proxy = Proxy::start(cluster.socket()).await;
    let slowed = app.sibling_through(proxy.options(&app.database.name), |_| {}).await;
    let caller = tenant.client.at(slowed.url());
    caller.remember("agent-0", "connected").await;
    proxy.slow(Duration::from_millis(50));
    let acknowledged = join_all((0..12).map(|who| impatient(caller.clone(), who))).await;
    let count: usize = acknowledged.iter().map(Vec::len).sum();
    assert!((50..290).contains(&count), "some waited, some did not: {count} of 300");
    settle(&app.database).await;
    proxy.slow(Duration::ZERO);

    for (who, contents) in acknowledged.iter().enumerate() {
        let agent = format!("agent-{who}");
        for content in contents {
            let again = tenant.post(&format!("/v1/agents/{agent}/remember"), json!({"content": content})).await;
            assert_eq!(again.status, 200, "acknowledged and lost: {content}");
        }
        // More than there are connections: each of them serves, and what it writes is seen by all.
        let later: Vec<String> = (0..4).map(|n| format!("Later stone {n} of caller {who}.")).collect();
        join_all(later.iter().map(|content| caller.remember(&agent, content))).await;
        for content in &later {
            let again = tenant.post(&format!("/v1/agents/{agent}/remember"), json!({"content": content})).await;
            assert_eq!(again.status, 200, "written later and not seen: {content}");
        }
    }
    nobody_was_confused(&cluster);
}

/// Nobody was inside a transaction who did not know it, or outside of one.
fn nobody_was_confused(cluster: &Cluster) {
    let log = cluster.log();
    let is_confused = |line: &&str| ["25P01", "25P02", "25P03", "25001"].iter().any(|state| line.starts_with(state));
    let confused: Vec<&str> = log.lines().filter(is_confused).collect();
    assert!(confused.is_empty(), "{confused:#?}");
    assert!(log.lines().any(|line| line.starts_with("00000 ")), "the log shows states: {log}");
}

/// Whatever comes late on a connection must not be taken for the answer to something else.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_to_the_gate_that_is_cut_off_takes_its_connection_with_it() {
    let app = TestApp::start().await;
    // A share as small as can be: one connection.
    let gate = app.db().gate_of_worker(1_000);
    let ask = async |sql: &'static str| {
        let answer = gate.ask(async |connection| Ok(sqlx::query_scalar::<_, i32>(sql).fetch_one(connection).await?));
        answer.await.map_err(|error| error.to_string())
    };
    let before = ask("SELECT pg_backend_pid()").await.expect("a process");
    assert_eq!(ask("SELECT pg_backend_pid()").await, Ok(before), "one connection serves one after the other");
    let cut_off = tokio::time::timeout(Duration::from_millis(50), ask("SELECT 1 FROM pg_sleep(1)")).await;
    assert!(cut_off.is_err());
    assert_ne!(ask("SELECT pg_backend_pid()").await.expect("another"), before);
    // So does one that failed.
    let before = ask("SELECT pg_backend_pid()").await.expect("a process");
    ask("SELECT 1 / 0").await.expect_err("no number");
    assert_ne!(ask("SELECT pg_backend_pid()").await.expect("another"), before);
}
