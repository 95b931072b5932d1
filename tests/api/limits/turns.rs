//! Turns at connections: who waits, waits behind its own tenant's calls.

use std::time::{Duration, Instant};

use cairn::db::Db;
use cairn::error::{Code, Error};
use cairn::ids::TenantId;
use futures_util::future::join_all;

use crate::harness::TestApp;

const CONNECTIONS: u32 = 4;

async fn app(is_fair: bool) -> TestApp {
    TestApp::start_with(|config| {
        config.database.search_connections = CONNECTIONS;
        config.database.acquire_timeout_ms = 20_000;
        config.database.fair = is_fair;
    })
    .await
}

/// Holds a connection for searches for so long.
async fn hold(db: Db, tenant: TenantId, time: Duration) -> cairn::error::Result<()> {
    db.clone()
        .run(async move {
            let mut conn = db.read(tenant).await?;
            sqlx::query("SELECT pg_sleep($1)").bind(time.as_secs_f64()).execute(&mut *conn).await?;
            Ok(())
        })
        .await
}

/// How long a tenant waits for a connection, at most, while another has a long line of calls.
async fn longest_wait_beside_a_crowd(is_fair: bool) -> Duration {
    let app = app(is_fair).await;
    let (crowded, steady) = (app.new_tenant().await, app.new_tenant().await);
    let long = Duration::from_millis(100);
    let crowd: Vec<_> = (0..80).map(|_| tokio::spawn(hold(app.db().clone(), crowded.id, long))).collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut longest = Duration::ZERO;
    for _ in 0..5 {
        let asked = Instant::now();
        hold(app.db().clone(), steady.id, Duration::ZERO).await.expect("a connection");
        longest = longest.max(asked.elapsed());
    }
    for held in join_all(crowd).await {
        held.expect("it ends").expect("a connection");
    }
    longest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_few_calls_does_not_wait_behind_one_with_many() {
    let fair = longest_wait_beside_a_crowd(true).await;
    let unfair = longest_wait_beside_a_crowd(false).await;
    println!("longest wait beside 80 calls of 100 ms: {fair:?} by turns, {unfair:?} without");
    assert!(fair < Duration::from_millis(500), "{fair:?}");
    assert!(unfair > Duration::from_millis(800), "without turns it waits behind all of them: {unfair:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_go_away_while_they_wait_leave_no_connection_unused() {
    let app = app(true).await;
    let (one, other) = (app.new_tenant().await, app.new_tenant().await);
    for round in 0..20 {
        let long = Duration::from_millis(20);
        let waiting: Vec<_> = (0..40)
            .map(|number| {
                let (db, tenant) = (app.db().clone(), if number % 2 == 0 { one.id } else { other.id });
                tokio::spawn(async move { db.read(tenant).await.map(drop) })
            })
            .collect();
        let held = tokio::spawn(hold(app.db().clone(), one.id, long));
        tokio::time::sleep(Duration::from_micros(50 * round)).await;
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
        held.await.expect("it ends").expect("a connection");
    }
    // All of them, at the same time.
    let together = Instant::now();
    let long = Duration::from_millis(300);
    let all = (0..CONNECTIONS).map(|number| hold(app.db().clone(), if number == 0 { one.id } else { other.id }, long));
    for held in join_all(all).await {
        held.expect("a connection");
    }
    assert!(together.elapsed() < 2 * long, "{:?}", together.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_too_long_turns_its_own_tenant_away_and_no_other() {
    let app = TestApp::start_with(|config| {
        config.database.search_connections = 1;
        config.database.waiting_per_tenant = 2;
        config.database.acquire_timeout_ms = 20_000;
    })
    .await;
    let (crowded, steady) = (app.new_tenant().await, app.new_tenant().await);
    let long = Duration::from_millis(400);
    let crowd: Vec<_> = (0..8).map(|_| tokio::spawn(hold(app.db().clone(), crowded.id, long))).collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    hold(app.db().clone(), steady.id, Duration::ZERO).await.expect("a connection");
    let mut turned_away = 0;
    for held in join_all(crowd).await {
        if let Err(error) = held.expect("it ends") {
            assert!(matches!(error, Error::Unavailable { .. }) && error.code() == Code::Overloaded, "{error}");
            turned_away += 1;
        }
    }
    assert_eq!(turned_away, 5, "one is served and two wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_for_connections_are_measured() {
    let app = app(true).await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is broken.").await;
    let metrics = tenant.get("/metrics").await.text;
    for pool in ["search", "write"] {
        let count = format!("cairn_database_wait_seconds_count{{pool=\"{pool}\"}}");
        let line = metrics.lines().find(|line| line.starts_with(&count)).unwrap_or_else(|| panic!("no {count}"));
        assert_ne!(line.rsplit(' ').next(), Some("0"), "{line}");
    }
    assert!(metrics.contains("cairn_limited_requests_total{by=\"tenant\",limit=\"requests\"} 0"));
}
