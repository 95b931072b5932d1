//! When a job is due.

use std::time::Duration;

use cairn::ids::{JobId, TenantId};
use cairn::jobs::{self, Cause};
use futures_util::future::join_all;
use time::OffsetDateTime;

use super::{new_job, runs, sql};
use crate::harness::TestApp;

async fn make_due(app: &TestApp, job: JobId, ago: &str) {
    sql(
        app,
        &format!("UPDATE jobs SET next_due = date_trunc('second', now()) - interval '{ago}' WHERE job_id = '{job}'"),
    )
    .await;
}

async fn next_due(app: &TestApp, tenant: TenantId, job: JobId) -> Option<OffsetDateTime> {
    let mut conn = app.db().read(tenant).await.expect("begins");
    let job = jobs::find(&mut conn, tenant, jobs::Kind::WarmUp, job).await.expect("finds").expect("the job");
    job.fields.next_due
}

#[tokio::test(flavor = "multi_thread")]
async fn a_due_time_has_one_run_however_many_look() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await.id;
    let job = new_job(&app, tenant, "* * * * * *").await;
    make_due(&app, job, "4 seconds").await;
    let looks = join_all((0..20).map(|_| jobs::plan(app.db()))).await;
    let planned: u64 = looks.into_iter().map(|look| look.expect("looks")).sum();
    let runs = runs(&app, tenant, job).await;
    assert_eq!(planned, runs.len() as u64);
    assert!(runs.len() >= 5, "every second has one: {runs:?}");
    assert!(runs.windows(2).all(|pair| pair[0].due_at - pair[1].due_at == time::Duration::SECOND), "{runs:?}");
    assert!(runs.iter().all(|run| run.cause == Cause::Schedule && run.attempt == 0));
    let next = next_due(&app, tenant, job).await.expect("it goes on");
    assert_eq!(next - runs[0].due_at, time::Duration::SECOND);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_while_all_were_down_is_made_up_for_once() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await.id;
    let job = new_job(&app, tenant, "*/10 * * * *").await;
    make_due(&app, job, "3 days").await;
    for _ in 0..3 {
        jobs::plan(app.db()).await.expect("looks");
    }
    let runs = runs(&app, tenant, job).await;
    assert_eq!(runs.len(), 1, "{runs:?}");
    let next = next_due(&app, tenant, job).await.expect("it goes on");
    assert_eq!(next - runs[0].due_at, time::Duration::minutes(10));
    assert!(next > OffsetDateTime::now_utc() - time::Duration::SECOND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_slower_than_its_schedule_has_at_most_a_hundred_runs_waiting() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await.id;
    let job = new_job(&app, tenant, "* * * * * *").await;
    let waiting = format!(
        "INSERT INTO job_runs (tenant_id, job_id, due_at, run_id, cause)
         SELECT '{tenant}', '{job}', now() - make_interval(hours => n), gen_random_uuid(), 'schedule'
           FROM generate_series(1, 98) n"
    );
    sql(&app, &waiting).await;
    make_due(&app, job, "8 seconds").await;
    assert_eq!(jobs::plan(app.db()).await.expect("looks"), 2);
    make_due(&app, job, "0 seconds").await;
    assert_eq!(jobs::plan(app.db()).await.expect("looks"), 0);
    assert!(next_due(&app, tenant, job).await.expect("it goes on") > OffsetDateTime::now_utc());
    assert_eq!(runs(&app, tenant, job).await.len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_enabled_and_of_an_active_tenant_is_due() {
    let app = TestApp::start().await;
    let (active, suspended) = (app.new_tenant().await.id, app.new_tenant().await.id);
    let off = new_job(&app, active, "* * * * * *").await;
    let (on, away) = (new_job(&app, active, "* * * * * *").await, new_job(&app, suspended, "* * * * * *").await);
    make_due(&app, on, "1 second").await;
    make_due(&app, away, "1 second").await;
    sql(&app, &format!("UPDATE tenants SET status = 'suspended' WHERE tenant_id = '{suspended}'")).await;
    jobs::plan(app.db()).await.expect("looks");
    assert!(!runs(&app, active, on).await.is_empty());
    assert!(runs(&app, active, off).await.is_empty());
    assert!(runs(&app, suspended, away).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_is_how_long_the_oldest_run_waits() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await.id;
    let lag = async || jobs::lag_secs(app.db().background()).await.expect("a lag");
    assert_eq!(lag().await, 0.0);
    let job = new_job(&app, tenant, "*/10 * * * *").await;
    make_due(&app, job, "100 seconds").await;
    assert!((100.0..130.0).contains(&lag().await), "nobody has looked yet: {}", lag().await);
    jobs::plan(app.db()).await.expect("looks");
    sql(&app, "UPDATE job_runs SET due_at = now() - interval '50 seconds'").await;
    assert!((50.0..80.0).contains(&lag().await), "it waits for a worker: {}", lag().await);
    super::claim(&app, &super::claimer(Duration::from_secs(60))).await.expect("the run");
    assert_eq!(lag().await, 0.0);
}
