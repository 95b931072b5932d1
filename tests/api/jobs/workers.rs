//! What instances do with what is due.

use std::time::Duration;

use cairn::ids::TenantId;
use cairn::jobs::{self, Chore, RunState};
use serde_json::json;

use super::{begun, chore_runs, count, ended, enqueue, expired, run_chore, slow_down, sql, working};
use crate::harness::TestApp;

const CHORE: Chore = Chore::PurgeMemories;

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_has_one_job_of_each_chore() {
    let app = TestApp::start_with(working).await;
    let _other = app.sibling_with(working).await;
    let mut superuser = app.database.superuser().await;
    for _ in 0..100 {
        if count(&mut superuser, "SELECT count(*) FROM jobs").await > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sql(&app, "UPDATE jobs SET enabled = false, next_due = NULL WHERE kind = 'purge_runs'").await;
    jobs::ensure_chores(app.db()).await.expect("they are there");
    assert_eq!(count(&mut superuser, "SELECT count(*) FROM jobs").await, Chore::ALL.len() as i64);
    let others = Chore::ALL.len() as i64 - 1;
    assert_eq!(
        count(&mut superuser, "SELECT count(*) FROM jobs WHERE next_due > now()").await,
        others,
        "a change stays"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_on_one_instance_is_known_to_all_within_two_seconds() {
    let app = TestApp::start().await;
    jobs::ensure_chores(app.db()).await.expect("jobs");
    let other = app.sibling_with(working).await;
    let began = "UPDATE jobs SET cron = '* * * * * *', next_due = date_trunc('second', now()) + interval '1 second'
                  WHERE kind = 'purge_runs'";
    sql(&app, began).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut runs = chore_runs(&other, Chore::PurgeRuns).await;
    runs.retain(|run| run.state == RunState::Succeeded);
    assert!(runs.len() >= 2, "{runs:?}");
    for run in &runs {
        let late = run.started_at.expect("it began") - run.due_at;
        assert!(late < time::Duration::seconds(2), "{late}");
    }
}

/// Ticks come from the clock of an instance; when a job is due is told by the database's.
#[tokio::test(flavor = "multi_thread")]
async fn no_code_of_jobs_asks_an_instance_for_the_time() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");
    let mut folders = vec![format!("{root}jobs"), format!("{root}scheduler")];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path.to_str().expect("UTF-8").to_owned());
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a file");
            for clock in ["now_utc", "now_local", "SystemTime", "Utc::now", "Timestamp::now", "Zoned::now"] {
                assert!(!text.contains(clock), "{} asks {clock}", path.display());
            }
            read += 1;
        }
    }
    assert!(read > 15, "{read} files");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cancelled_stops_and_tells_how_far_it_came() {
    let app = TestApp::start_with(working).await;
    jobs::ensure_chores(app.db()).await.expect("jobs");
    slow_down(&app, 300).await;
    for _ in 0..30 {
        expired(&app, 1).await;
    }
    let id = enqueue(&app, TenantId::OPERATOR, CHORE.id()).await;
    begun(&app, CHORE).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut tx = app.db().write(TenantId::OPERATOR).await.expect("begins");
    assert!(jobs::request_cancel(&mut tx, TenantId::OPERATOR, CHORE.id(), id).await.expect("asks"));
    tx.commit(&[]).await.expect("commits");
    let run = ended(&app, CHORE, id).await;
    assert_eq!(run.state, RunState::Cancelled);
    let removed = run.report.expect("a report")["removed"].as_i64().expect("a count");
    assert!((1..30).contains(&removed), "{removed}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let left = count(&mut app.database.superuser().await, "SELECT count(*) FROM memories").await;
    assert!(left > 0, "it went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_stops_hands_its_run_to_another() {
    let app = TestApp::start_with(working).await;
    jobs::ensure_chores(app.db()).await.expect("jobs");
    slow_down(&app, 200).await;
    for _ in 0..20 {
        expired(&app, 1).await;
    }
    let id = enqueue(&app, TenantId::OPERATOR, CHORE.id()).await;
    begun(&app, CHORE).await;
    let idle = app.sibling().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    app.app.close().await;
    let handed = chore_runs(&idle, CHORE).await.into_iter().find(|run| run.run_id == id).expect("the run");
    assert_eq!((handed.state, handed.attempt), (RunState::Queued, 0));
    let before = handed.progress.expect("how far it was")["removed"].as_u64().expect("a count");
    assert!((1..20).contains(&before), "{before}");

    let other = idle.sibling_with(working).await;
    let run = ended(&other, CHORE, id).await;
    assert_eq!((run.state, run.attempt), (RunState::Succeeded, 1));
    let report = run.report.expect("a report");
    // The batch that was under way when the instance stopped was committed, or done again.
    assert!([json!(19), json!(20)].contains(&report["removed"]), "{report}");
    assert_eq!(count(&mut other.database.superuser().await, "SELECT count(*) FROM memories").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chore_that_fails_in_one_tenant_goes_on_in_the_next_and_says_so() {
    let app = TestApp::start_with(working).await;
    jobs::ensure_chores(app.db()).await.expect("jobs");
    let (broken, sound) = (expired(&app, 1).await, expired(&app, 1).await);
    let trap = format!(
        "CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN RAISE EXCEPTION ''a trap''; END';
         GRANT EXECUTE ON FUNCTION trap() TO cairn_app;
         CREATE TRIGGER trap BEFORE DELETE ON memories FOR EACH ROW
                WHEN (OLD.tenant_id = '{broken}') EXECUTE FUNCTION trap()"
    );
    sql(&app, &trap).await;
    let run = run_chore(&app, CHORE).await;
    assert_eq!(run.state, RunState::Failed);
    assert_eq!(run.error.as_deref(), Some("failed in 1 of 2 tenants, at last: internal error"));
    let left = format!("SELECT count(*) FROM memories WHERE tenant_id = '{sound}'");
    assert_eq!(count(&mut app.database.superuser().await, &left).await, 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(chore_runs(&app, CHORE).await.len(), 1, "it is not tried again before it is due");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_counted() {
    let app = TestApp::start_with(working).await;
    jobs::ensure_chores(app.db()).await.expect("jobs");
    run_chore(&app, Chore::PurgeRuns).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let metrics = app.stranger().get("/metrics").await.text;
    for line in [
        "cairn_job_runs_total{kind=\"purge_runs\",outcome=\"succeeded\"} 1",
        "cairn_job_run_duration_seconds_count{kind=\"purge_runs\"} 1",
        "cairn_job_lag_seconds ",
        "cairn_job_lost_leases_total 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}
