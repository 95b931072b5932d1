//! What a worker that was stopped and goes on later can still do: nothing.

use std::sync::Arc;
use std::time::Duration;

use cairn::db::Db;
use cairn::error::{Code, Result};
use cairn::ids::TenantId;
use cairn::jobs::Lease;
use serde_json::json;

use super::{claim, claimer, count, enqueue, new_job, sql};
use crate::harness::TestApp;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(60);

/// A unit of work as a worker does it: in a tenant that need not be the run's.
async fn effect(db: &Db, lease: &Lease, tenant: TenantId, pause: Duration) -> Result<()> {
    let mut tx = db.write_beside(tenant).await?;
    lease.fence(&mut tx).await?;
    tokio::time::sleep(pause).await;
    sqlx::query("INSERT INTO effects DEFAULT VALUES").execute(&mut **tx).await?;
    tx.commit(&[]).await
}

async fn stage() -> (TestApp, TenantId, TenantId) {
    let app = TestApp::start().await;
    sql(&app, "CREATE TABLE effects (at timestamptz DEFAULT clock_timestamp()); GRANT INSERT ON effects TO cairn_app")
        .await;
    let (of_run, of_work) = (app.new_tenant().await.id, app.new_tenant().await.id);
    let job = new_job(&app, of_run, "* * * * *").await;
    enqueue(&app, of_run, job).await;
    (app, of_run, of_work)
}

async fn effects(app: &TestApp) -> i64 {
    count(&mut app.database.superuser().await, "SELECT count(*) FROM effects").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_thaws_after_its_lease_commits_nothing() {
    let (app, of_run, of_work) = stage().await;
    let frozen = claim(&app, &claimer(SHORT)).await.expect("the run");
    tokio::time::sleep(SHORT).await;
    let next = claim(&app, &claimer(LONG)).await.expect("the run");
    for tenant in [of_run, of_work] {
        let refused = effect(app.db(), &frozen, tenant, Duration::ZERO).await.expect_err("it is another's run");
        assert_eq!(refused.code(), Code::WrongState);
        effect(app.db(), &next, tenant, Duration::ZERO).await.expect("its own run");
    }
    assert_eq!(effects(&app).await, 2);
    next.finish(&json!({})).await.expect("finishes");
    effect(app.db(), &next, of_work, Duration::ZERO).await.expect_err("it has ended");
    assert_eq!(effects(&app).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_not_taken_over_in_the_middle_of_a_commit() {
    let (app, _, of_work) = stage().await;
    let slow = Arc::new(claim(&app, &claimer(SHORT)).await.expect("the run"));
    let (db, lease) = (app.db().clone(), slow.clone());
    let work = tokio::spawn(async move { effect(&db, &lease, of_work, Duration::from_secs(1)).await });
    tokio::time::sleep(SHORT * 2).await;
    assert!(claim(&app, &claimer(LONG)).await.is_none(), "what is being committed is the worker's");
    work.await.expect("no panic").expect("commits");
    assert_eq!(effects(&app).await, 1);
    claim(&app, &claimer(LONG)).await.expect("the lease has ended");
    effect(app.db(), &slow, of_work, Duration::ZERO).await.expect_err("it is another's run");
    assert_eq!(effects(&app).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_passes_while_its_worker_commits() {
    let (app, _, of_work) = stage().await;
    let lease = Arc::new(claim(&app, &claimer(LONG)).await.expect("the run"));
    let (db, working) = (app.db().clone(), lease.clone());
    let work = tokio::spawn(async move { effect(&db, &working, of_work, Duration::from_secs(2)).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let beat = tokio::time::timeout(Duration::from_secs(1), lease.heartbeat()).await;
    beat.expect("it waits for nobody").expect("renews");
    assert!(!work.is_finished(), "it was renewed meanwhile");
    work.await.expect("no panic").expect("commits");
}
