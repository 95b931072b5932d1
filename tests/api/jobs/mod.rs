//! Jobs: that each due time has one run and each run one worker, whoever is stopped, killed or late.

mod chores;
mod claims;
mod cli;
mod due;
mod fence;
mod once;
mod scopes;
mod workers;

use std::time::Duration;

use cairn::config::Config;
use cairn::ids::{JobId, RunId, TenantId, WorkerId};
use cairn::jobs::{self, Cause, Chore, Claim, Claimer, JobFields, Kind, Lease, Run, RunState};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::harness::TestApp;

/// A job of a tenant; it is due when somebody says so.
pub async fn new_job(app: &TestApp, tenant: TenantId, cron: &str) -> JobId {
    let id = JobId::new();
    let fields = JobFields {
        name: "a job".into(),
        cron: cron.into(),
        timezone: "UTC".into(),
        enabled: true,
        details: json!({}),
        next_due: None,
    };
    let mut tx = app.db().write(tenant).await.expect("begins");
    jobs::insert(&mut tx, tenant, id, Kind::WarmUp, &fields).await.expect("inserts");
    tx.commit(&[]).await.expect("commits");
    id
}

/// Puts a run of it in the queue.
pub async fn enqueue(app: &TestApp, tenant: TenantId, job: JobId) -> RunId {
    jobs::enqueue(app.db(), tenant, job, Cause::Manual).await.expect("a run")
}

/// Instances that find and do what is due; for all of them a lease is short.
fn working(config: &mut Config) {
    config.jobs.enabled = true;
    config.jobs.lease_secs = 3;
}

async fn sql(app: &TestApp, sql: &str) {
    let mut superuser = app.database.superuser().await;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut superuser).await.expect(sql);
}

async fn count(connection: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(connection).await.expect(sql)
}

/// A worker of its own, as another instance has one.
fn claimer(lease: Duration) -> Claimer {
    Claimer { worker: WorkerId::random(), kinds: vec![Kind::WarmUp], lease }
}

/// What the worker gets, if anything.
async fn claim(app: &TestApp, claimer: &Claimer) -> Option<Lease> {
    match jobs::claim(app.db(), claimer).await.expect("claims") {
        Claim::Run(lease) | Claim::TakenOver(lease) => Some(lease),
        Claim::Nothing | Claim::Ended { .. } => None,
    }
}

/// All runs of a job, the latest first.
async fn runs(app: &TestApp, tenant: TenantId, job: JobId) -> Vec<Run> {
    let mut conn = app.db().read(tenant).await.expect("begins");
    jobs::list_runs(&mut conn, tenant, job, None, 1_000).await.expect("runs")
}

async fn chore_runs(app: &TestApp, chore: Chore) -> Vec<Run> {
    runs(app, TenantId::OPERATOR, chore.id()).await
}

/// Asks for a run of a chore and waits for its end.
async fn run_chore(app: &TestApp, chore: Chore) -> Run {
    let id = enqueue(app, TenantId::OPERATOR, chore.id()).await;
    ended(app, chore, id).await
}

async fn ended(app: &TestApp, chore: Chore, id: RunId) -> Run {
    for _ in 0..300 {
        let run = chore_runs(app, chore).await.into_iter().find(|run| run.run_id == id).expect("the run");
        if run.state.is_final() {
            return run;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{chore:?} does not end: {:?}", chore_runs(app, chore).await);
}

/// Waits until the run of a chore is under way.
async fn begun(app: &TestApp, chore: Chore) -> Run {
    for _ in 0..300 {
        if let Some(run) = chore_runs(app, chore).await.into_iter().find(|run| run.state == RunState::Running) {
            return run;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{chore:?} does not begin");
}

/// So many memories that have expired, in a tenant of their own.
async fn expired(app: &TestApp, memories: u32) -> TenantId {
    let tenant = app.new_tenant().await.id;
    sql(
        app,
        &format!(
            "INSERT INTO agents (tenant_id, agent_uid, agent_id) VALUES ('{tenant}', '{tenant}', 'ada');
             INSERT INTO memories (tenant_id, memory_id, agent_uid, content, content_hash, kind, tags, importance,
                                   metadata, expires_at)
             SELECT '{tenant}', gen_random_uuid(), '{tenant}', 'x', 'x', 'fact', '{{}}', 0, '{{}}', now()
               FROM generate_series(1, {memories})"
        ),
    )
    .await;
    tenant
}

/// From now on forgetting a memory takes so long.
async fn slow_down(app: &TestApp, millis: u32) {
    sql(
        app,
        &format!(
            "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN PERFORM pg_sleep({millis} / 1000.0); RETURN OLD; END';
             GRANT EXECUTE ON FUNCTION linger() TO cairn_app;
             CREATE TRIGGER linger BEFORE DELETE ON memories FOR EACH ROW EXECUTE FUNCTION linger()"
        ),
    )
    .await;
}
