//! SQL for finding what is due.

use sqlx::{AssertSqlSafe, PgPool};
use time::OffsetDateTime;

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{JobId, TenantId};
use crate::jobs::model::Job;
use crate::jobs::store::jobs::SELECT;

/// The database's clock.
pub async fn now(conn: &mut TenantConn) -> Result<OffsetDateTime> {
    Ok(sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut **conn).await?)
}

/// Jobs of all active tenants that are due, the longest overdue first.
pub async fn list_due(pool: &PgPool, limit: i64) -> Result<Vec<(TenantId, JobId)>> {
    Ok(sqlx::query_as("SELECT tenant_id, job_id FROM due_jobs($1)").bind(limit).fetch_all(pool).await?)
}

/// A job, if it is still due and nobody else is just seeing to it; locked until the commit.
pub async fn find_due(conn: &mut TenantConn, tenant: TenantId, id: JobId) -> Result<Option<Job>> {
    let sql = format!("{SELECT} AND job_id = $2 AND next_due <= clock_timestamp() FOR NO KEY UPDATE SKIP LOCKED");
    Ok(sqlx::query_as(AssertSqlSafe(sql)).bind(tenant).bind(id).fetch_optional(&mut **conn).await?)
}

/// How many runs of a job wait.
pub async fn count_waiting(conn: &mut TenantConn, tenant: TenantId, job: JobId) -> Result<i64> {
    let waiting =
        sqlx::query_scalar("SELECT count(*) FROM job_runs WHERE tenant_id = $1 AND job_id = $2 AND state = 'queued'");
    Ok(waiting.bind(tenant).bind(job).fetch_one(&mut **conn).await?)
}

/// Moves a job on to its next due time, if it is still the one that was read; whether it was.
pub async fn update_next_due(
    conn: &mut TenantConn,
    tenant: TenantId,
    job: &Job,
    next: Option<OffsetDateTime>,
) -> Result<bool> {
    let done = sqlx::query("UPDATE jobs SET next_due = $4 WHERE tenant_id = $1 AND job_id = $2 AND next_due = $3")
        .bind(tenant)
        .bind(job.job_id)
        .bind(job.fields.next_due)
        .bind(next)
        .execute(&mut **conn)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// For how long the run that waits longest has been due.
pub async fn lag_secs(pool: &PgPool) -> Result<f64> {
    Ok(sqlx::query_scalar("SELECT job_lag_secs()").fetch_one(pool).await?)
}
