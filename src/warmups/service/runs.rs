//! Runs of a warm-up: asked for, looked at, cancelled.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::db::{Db, Intent, TenantConn};
use crate::error::{Code, Error, Result};
use crate::ids::{JobId, RunId, TenantId};
use crate::jobs::{self, Cause, RunState};
use crate::warmups::model::WarmupRun;
use crate::warmups::service::{find, lock};

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
    let run = jobs::find_run(conn, tenant, id, run).await?;
    run.ok_or_else(|| Error::not_found("run"))?.try_into()
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
    find(&mut conn, tenant, id).await?;
    let runs = jobs::list_runs(&mut conn, tenant, id, before, limit).await?;
    runs.into_iter().map(WarmupRun::try_from).collect()
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
