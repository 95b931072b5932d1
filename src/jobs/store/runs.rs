//! SQL for the runs of a job, as those who ask for them see them.

use sqlx::AssertSqlSafe;
use time::OffsetDateTime;

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{JobId, RunId, TenantId};
use crate::jobs::model::{Cause, Run};

const SELECT: &str = "
    SELECT job_id, due_at, run_id, cause, state, attempt, cancel_requested, progress, report, error,
           created_at, started_at, finished_at
      FROM job_runs
     WHERE tenant_id = $1 AND job_id = $2";

/// Puts a run in the queue for this due time; without one it is due now. None: there is a run for it already.
pub async fn insert_run(
    conn: &mut TenantConn,
    tenant: TenantId,
    job: JobId,
    due_at: Option<OffsetDateTime>,
    cause: Cause,
) -> Result<Option<RunId>> {
    let inserted = sqlx::query_scalar(
        "INSERT INTO job_runs (tenant_id, job_id, due_at, run_id, cause)
         VALUES ($1, $2, coalesce($3, clock_timestamp()), $4, $5)
             ON CONFLICT ON CONSTRAINT job_runs_pkey DO NOTHING
      RETURNING run_id",
    )
    .bind(tenant)
    .bind(job)
    .bind(due_at)
    .bind(RunId::new())
    .bind(cause)
    .fetch_optional(&mut **conn)
    .await?;
    Ok(inserted)
}

pub async fn find_run(conn: &mut TenantConn, tenant: TenantId, job: JobId, run: RunId) -> Result<Option<Run>> {
    let sql = format!("{SELECT} AND run_id = $3");
    Ok(sqlx::query_as(AssertSqlSafe(sql)).bind(tenant).bind(job).bind(run).fetch_optional(&mut **conn).await?)
}

pub(super) async fn find_due(
    conn: &mut TenantConn,
    tenant: TenantId,
    job: JobId,
    due_at: OffsetDateTime,
) -> Result<Option<Run>> {
    let sql = format!("{SELECT} AND due_at = $3");
    Ok(sqlx::query_as(AssertSqlSafe(sql)).bind(tenant).bind(job).bind(due_at).fetch_optional(&mut **conn).await?)
}

/// A page of the runs of a job, those that were due last first.
pub async fn list_runs(
    conn: &mut TenantConn,
    tenant: TenantId,
    job: JobId,
    before: Option<OffsetDateTime>,
    limit: i64,
) -> Result<Vec<Run>> {
    let sql = format!(
        "{SELECT}
            AND ($3::timestamptz IS NULL OR due_at < $3)
          ORDER BY due_at DESC
          LIMIT $4"
    );
    let runs = sqlx::query_as(AssertSqlSafe(sql)).bind(tenant).bind(job).bind(before).bind(limit);
    Ok(runs.fetch_all(&mut **conn).await?)
}

/// Cancels a run that waits, and has a worker told that it is to end; whether there was anything to cancel.
pub async fn request_cancel(conn: &mut TenantConn, tenant: TenantId, job: JobId, run: RunId) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE job_runs
            SET cancel_requested = true,
                state = CASE state WHEN 'queued' THEN 'cancelled' ELSE state END,
                finished_at = CASE state WHEN 'queued' THEN clock_timestamp() END
          WHERE tenant_id = $1 AND job_id = $2 AND run_id = $3 AND state IN ('queued', 'running')",
    )
    .bind(tenant)
    .bind(job)
    .bind(run)
    .execute(&mut **conn)
    .await?;
    Ok(done.rows_affected() == 1)
}
