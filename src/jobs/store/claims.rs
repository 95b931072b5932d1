//! SQL for working on runs: whoever has claimed one changes it only while it is theirs.

use serde_json::Value;
use sqlx::{FromRow, PgPool};
use time::OffsetDateTime;

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{JobId, TenantId, WorkerId};
use crate::jobs::model::{Job, Kind, Run, RunState};
use crate::jobs::store::{jobs, runs};

/// Whose a run is: its worker's, in this attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    pub tenant: TenantId,
    pub job: JobId,
    pub due_at: OffsetDateTime,
    pub worker: WorkerId,
    pub attempt: i32,
}

/// What a claim came to, by ids.
#[derive(Debug, FromRow)]
pub struct ClaimRow {
    pub tenant_id: TenantId,
    pub job_id: JobId,
    pub due_at: OffsetDateTime,
    #[sqlx(try_from = "String")]
    pub kind: Kind,
    pub outcome: String,
}

/// How a lease is renewed.
#[derive(Debug, Clone, Copy)]
pub struct Renewal<'a> {
    pub lease_secs: f64,
    pub progress: Option<&'a Value>,
}

/// Claims the run of any tenant that has waited longest.
pub async fn claim(
    pool: &PgPool,
    worker: WorkerId,
    lease_secs: f64,
    kinds: &[Kind],
    most_attempts: i32,
) -> Result<Option<ClaimRow>> {
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    let claim = sqlx::query_as("SELECT * FROM claim_job_run($1, $2, $3, $4)");
    Ok(claim.bind(worker).bind(lease_secs).bind(kinds).bind(most_attempts).fetch_optional(pool).await?)
}

/// The job and the run of a claim, unless they are gone.
pub async fn find_claimed(conn: &mut TenantConn, claim: &ClaimRow) -> Result<Option<(Job, Run)>> {
    let job = jobs::find_any(conn, claim.tenant_id, claim.job_id).await?;
    let run = runs::find_due(conn, claim.tenant_id, claim.job_id, claim.due_at).await?;
    Ok(job.zip(run))
}

/// Keeps a run for its worker until the transaction ends; false: it is no longer the worker's.
pub async fn hold(conn: &mut TenantConn, holder: &Holder) -> Result<bool> {
    let held = sqlx::query_scalar("SELECT hold_job_run($1, $2, $3, $4, $5)");
    let held = held.bind(holder.tenant).bind(holder.job).bind(holder.due_at).bind(holder.worker).bind(holder.attempt);
    Ok(held.fetch_one(&mut **conn).await?)
}

/// Renews a lease and keeps how far the run is. None: it is no longer the worker's; else whether it is to be cancelled.
pub async fn renew(conn: &mut TenantConn, holder: &Holder, renewal: Renewal<'_>) -> Result<Option<bool>> {
    let renewed = sqlx::query_scalar(
        "UPDATE job_runs
            SET lease_until = clock_timestamp() + make_interval(secs => $6), progress = $7
          WHERE tenant_id = $1 AND job_id = $2 AND due_at = $3
            AND state = 'running' AND worker = $4 AND attempt = $5
      RETURNING cancel_requested",
    )
    .bind(holder.tenant)
    .bind(holder.job)
    .bind(holder.due_at)
    .bind(holder.worker)
    .bind(holder.attempt)
    .bind(renewal.lease_secs)
    .bind(renewal.progress)
    .fetch_optional(&mut **conn)
    .await?;
    Ok(renewed)
}

/// Ends a run; whether it was the worker's to end.
pub async fn update_finished(
    conn: &mut TenantConn,
    holder: &Holder,
    state: RunState,
    report: Option<&Value>,
    error: Option<&str>,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE job_runs
            SET state = $6, report = $7, error = $8, worker = NULL, lease_until = NULL, finished_at = clock_timestamp()
          WHERE tenant_id = $1 AND job_id = $2 AND due_at = $3
            AND state = 'running' AND worker = $4 AND attempt = $5",
    )
    .bind(holder.tenant)
    .bind(holder.job)
    .bind(holder.due_at)
    .bind(holder.worker)
    .bind(holder.attempt)
    .bind(state)
    .bind(report)
    .bind(error)
    .execute(&mut **conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Puts a run back into the queue, for another worker to go on with. It is no attempt that failed, and does not count.
pub async fn hand_back(conn: &mut TenantConn, holder: &Holder, progress: Option<&Value>) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE job_runs
            SET state = 'queued', attempt = attempt - 1, worker = NULL, lease_until = NULL, progress = $6
          WHERE tenant_id = $1 AND job_id = $2 AND due_at = $3
            AND state = 'running' AND worker = $4 AND attempt = $5",
    )
    .bind(holder.tenant)
    .bind(holder.job)
    .bind(holder.due_at)
    .bind(holder.worker)
    .bind(holder.attempt)
    .bind(progress)
    .execute(&mut **conn)
    .await?;
    Ok(done.rows_affected() == 1)
}
