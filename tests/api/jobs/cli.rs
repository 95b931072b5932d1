//! `cairn jobs`, over the database that a server works on.

use std::process::Output;

use cairn::jobs::{Chore, RunState};
use cairn::secrets::SecretKey;

use super::{chore_runs, new_job, sql, working};
use crate::harness::TestApp;

async fn jobs(app: &TestApp, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = app.database.cluster.socket();
    let host = socket.parent().expect("a folder").to_str().expect("UTF-8");
    tokio::process::Command::new(env!("CARGO_BIN_EXE_cairn"))
        .arg("jobs")
        .args(arguments)
        .current_dir(folder.path())
        .env("DATABASE_URL", format!("postgres://postgres@localhost/{}?host={host}", app.database.name))
        .env("CAIRN_SECRET_KEY", SecretKey::random().to_base64())
        .output()
        .await
        .expect("the binary runs")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lists_jobs_runs_one_and_sees_what_it_came_to() {
    let app = TestApp::start_with(working).await;
    let list = jobs(&app, &["list"]).await;
    assert!(list.status.success(), "{}", text(&list));
    for chore in Chore::ALL {
        assert!(text(&list).contains(chore.name()), "{}", text(&list));
    }
    let run = jobs(&app, &["run", "purge_runs"]).await;
    assert!(run.status.success() && text(&run).contains("\"removed\":0"), "{}", text(&run));
    let id = Chore::PurgeRuns.id().to_string();
    let runs = jobs(&app, &["runs", &id]).await;
    assert!(text(&runs).contains("manual") && text(&runs).contains("succeeded"), "{}", text(&runs));
    let unknown = jobs(&app, &["run", "purge_everything"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown).contains("no such job"), "{}", text(&unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_a_run_waits_in_the_queue() {
    let app = TestApp::start().await;
    let run = jobs(&app, &["run", "purge_runs", "--no-wait"]).await;
    assert!(run.status.success() && text(&run).contains("in the queue"), "{}", text(&run));
    let runs = chore_runs(&app, Chore::PurgeRuns).await;
    assert_eq!(runs.iter().map(|run| run.state).collect::<Vec<_>>(), [RunState::Queued]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_of_a_tenant_are_listed_by_its_name() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await.id;
    let (one, _two) = (new_job(&app, tenant, "* * * * *").await, new_job(&app, tenant, "* * * * *").await);
    sql(&app, "UPDATE tenants SET name = 'acme' WHERE name <> ''").await;
    let list = jobs(&app, &["list", "--tenant", "acme"]).await;
    assert!(list.status.success() && text(&list).contains(&one.to_string()), "{}", text(&list));
    assert!(!text(&list).contains("purge"), "{}", text(&list));
    let both = jobs(&app, &["run", "a job", "--tenant", "acme", "--no-wait"]).await;
    assert!(text(&both).contains("2 jobs are named"), "{}", text(&both));
    let by_id = jobs(&app, &["run", &one.to_string(), "--tenant", "acme", "--no-wait"]).await;
    assert!(by_id.status.success(), "{}", text(&by_id));
}
