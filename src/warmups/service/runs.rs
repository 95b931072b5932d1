//! Runs of a warm-up: asked for, looked at, cancelled.

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::db::{Db, Intent, TenantConn};
use crate::error::{Code, Error, Result};
use crate::ids::{JobId, RunId, TenantId};
use crate::jobs::{self, Cause, Kind, Run, RunState};
use crate::usage;
use crate::warmups::model::{Effect, Warmup, WarmupRun};
use crate::warmups::service::{MOST_WARMUPS, find, lock};

const HOUR: Duration = Duration::HOUR;

/// For how long recalls are counted by the minute.
const COUNTED: Duration = Duration::days(7);

/// Runs of a warm-up that say how it does.
const RECENT: i64 = 20;

/// Puts a run in the queue at once, whether the warm-up is enabled or not.
pub async fn start(db: Db, intent: Intent, id: JobId) -> Result<WarmupRun> {
    let tenant = intent.tenant;
    let mut tx = db.write(tenant).await?;
    if let Some(run) = tx.claim::<Uuid>(&intent.once).await? {
        let run = jobs::find_run(&mut tx, tenant, id, RunId::from_uuid(run)).await?;
        return run.ok_or_else(|| Error::gone("run"))?.try_into();
    }
    lock(&mut tx, tenant, id).await?;
    let run = jobs::insert_run(&mut tx, tenant, id, None, Cause::Manual).await?;
    let run = run.ok_or_else(Error::changed_meanwhile)?;
    let started = find_run(&mut tx, tenant, id, run).await?;
    tx.record(&run.uuid()).await?;
    tx.commit(&[]).await?;
    Ok(started)
}

pub async fn find_run(conn: &mut TenantConn, tenant: TenantId, id: JobId, run: RunId) -> Result<WarmupRun> {
    let warmup = find(conn, tenant, id).await?;
    let run = jobs::find_run(conn, tenant, id, run).await?;
    shown(conn, tenant, &warmup, run.ok_or_else(|| Error::not_found("run"))?).await
}

/// A page of the runs of a warm-up, the last first.
pub async fn list_runs(
    db: Db,
    tenant: TenantId,
    id: JobId,
    before: Option<OffsetDateTime>,
    limit: i64,
) -> Result<Vec<WarmupRun>> {
    let mut conn = db.read(tenant).await?;
    let warmup = find(&mut conn, tenant, id).await?;
    let mut runs = Vec::new();
    for run in jobs::list_runs(&mut conn, tenant, id, before, limit).await? {
        runs.push(shown(&mut conn, tenant, &warmup, run).await?);
    }
    Ok(runs)
}

/// The runs of all warm-ups of a tenant that ended well since then, the last of each first, with the names of those.
pub async fn recent(
    conn: &mut TenantConn,
    tenant: TenantId,
    since: OffsetDateTime,
) -> Result<Vec<(String, WarmupRun)>> {
    let mut recent = Vec::new();
    for job in jobs::list(conn, tenant, &[Kind::WarmUp], None, MOST_WARMUPS).await? {
        let warmup = Warmup::try_from(job)?;
        let runs = jobs::list_runs(conn, tenant, warmup.id, None, RECENT).await?;
        for run in runs.into_iter().filter(|run| run.state == RunState::Succeeded && run.due_at >= since) {
            recent.push((warmup.name.clone(), shown(conn, tenant, &warmup, run).await?));
        }
    }
    Ok(recent)
}

/// A run with what it did for those who asked afterwards.
async fn shown(conn: &mut TenantConn, tenant: TenantId, warmup: &Warmup, run: Run) -> Result<WarmupRun> {
    let run = WarmupRun::try_from(run)?;
    Ok(WarmupRun { effect: effect(conn, tenant, warmup, &run).await?, ..run })
}

fn minute(time: OffsetDateTime) -> OffsetDateTime {
    time - Duration::seconds(i64::from(time.second())) - Duration::nanoseconds(i64::from(time.nanosecond()))
}

async fn effect(conn: &mut TenantConn, tenant: TenantId, warmup: &Warmup, run: &WarmupRun) -> Result<Option<Effect>> {
    let (Some(began), Some(ended)) = (run.started_at, run.finished_at) else { return Ok(None) };
    let agents: Vec<_> = warmup.targets.iter().filter_map(|target| target.agent_id.clone()).collect();
    let now = jobs::now(conn).await?;
    if agents.is_empty() || now - ended > COUNTED {
        return Ok(None);
    }
    // Counts are by the minute; the one in which it ended belongs to those who asked after it.
    let (began, ended) = (minute(began), minute(ended));
    let before = usage::of_agents(conn, tenant, &agents, (began - HOUR, began)).await?;
    let after = usage::of_agents(conn, tenant, &agents, (ended, ended + HOUR)).await?;
    Ok(Some(Effect { before: before.into(), after: after.into(), complete: now >= ended + HOUR }))
}

/// One that waits is cancelled at once, one that is worked on at its next heartbeat.
pub async fn cancel(db: Db, intent: Intent, id: JobId, run: RunId) -> Result<WarmupRun> {
    let tenant = intent.tenant;
    let mut tx = db.write(tenant).await?;
    if tx.claim::<()>(&intent.once).await?.is_some() {
        return find_run(&mut tx, tenant, id, run).await;
    }
    lock(&mut tx, tenant, id).await?;
    let before = find_run(&mut tx, tenant, id, run).await?;
    if before.state != RunState::Cancelled && !jobs::request_cancel(&mut tx, tenant, id, run).await? {
        let detail = "the run has ended; there is nothing to cancel any more";
        return Err(Error::refused(Code::WrongState, detail));
    }
    let after = find_run(&mut tx, tenant, id, run).await?;
    tx.record(&()).await?;
    tx.commit(&[]).await?;
    Ok(after)
}
