//! SQL for jobs.

use sqlx::AssertSqlSafe;

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{JobId, TenantId};
use crate::jobs::model::{Job, JobFields, Kind};

pub(super) const SELECT: &str = "
    SELECT job_id, kind, name, cron, timezone, enabled, details, next_due, version, created_at, updated_at
      FROM jobs
     WHERE tenant_id = $1";

/// Inserts a job, unless it is there; whether it was not.
pub async fn insert(
    conn: &mut TenantConn,
    tenant: TenantId,
    id: JobId,
    kind: Kind,
    fields: &JobFields,
) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO jobs (tenant_id, job_id, kind, name, cron, timezone, enabled, details, next_due)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT ON CONSTRAINT jobs_pkey DO NOTHING",
    )
    .bind(tenant)
    .bind(id)
    .bind(kind.name())
    .bind(&fields.name)
    .bind(&fields.cron)
    .bind(&fields.timezone)
    .bind(fields.enabled)
    .bind(&fields.details)
    .bind(fields.next_due)
    .execute(&mut **conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub async fn find(conn: &mut TenantConn, tenant: TenantId, kind: Kind, id: JobId) -> Result<Option<Job>> {
    let sql = format!("{SELECT} AND kind = $2 AND job_id = $3");
    Ok(sqlx::query_as(AssertSqlSafe(sql)).bind(tenant).bind(kind.name()).bind(id).fetch_optional(&mut **conn).await?)
}

/// The same, of whatever kind.
pub(super) async fn find_any(conn: &mut TenantConn, tenant: TenantId, id: JobId) -> Result<Option<Job>> {
    let sql = format!("{SELECT} AND job_id = $2");
    Ok(sqlx::query_as(AssertSqlSafe(sql)).bind(tenant).bind(id).fetch_optional(&mut **conn).await?)
}

/// A job, locked until the commit.
pub async fn find_for_update(conn: &mut TenantConn, tenant: TenantId, kind: Kind, id: JobId) -> Result<Option<Job>> {
    let sql = format!("{SELECT} AND kind = $2 AND job_id = $3 FOR UPDATE");
    Ok(sqlx::query_as(AssertSqlSafe(sql)).bind(tenant).bind(kind.name()).bind(id).fetch_optional(&mut **conn).await?)
}

/// A page of the jobs of these kinds, by id.
pub async fn list(
    conn: &mut TenantConn,
    tenant: TenantId,
    kinds: &[Kind],
    after: Option<JobId>,
    limit: i64,
) -> Result<Vec<Job>> {
    let sql = format!(
        "{SELECT}
            AND kind = ANY($2)
            AND ($3::uuid IS NULL OR job_id > $3)
          ORDER BY job_id
          LIMIT $4"
    );
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    let jobs = sqlx::query_as(AssertSqlSafe(sql)).bind(tenant).bind(kinds).bind(after).bind(limit);
    Ok(jobs.fetch_all(&mut **conn).await?)
}

pub async fn update(conn: &mut TenantConn, tenant: TenantId, id: JobId, fields: &JobFields) -> Result<()> {
    sqlx::query(
        "UPDATE jobs
            SET name = $3, cron = $4, timezone = $5, enabled = $6, details = $7, next_due = $8,
                version = version + 1, updated_at = now()
          WHERE tenant_id = $1 AND job_id = $2",
    )
    .bind(tenant)
    .bind(id)
    .bind(&fields.name)
    .bind(&fields.cron)
    .bind(&fields.timezone)
    .bind(fields.enabled)
    .bind(&fields.details)
    .bind(fields.next_due)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

/// Deletes a job with all its runs. Whoever works on one loses it; what is committed for it just now comes first.
pub async fn delete(conn: &mut TenantConn, tenant: TenantId, id: JobId) -> Result<bool> {
    let runs = sqlx::query("DELETE FROM job_runs WHERE tenant_id = $1 AND job_id = $2");
    runs.bind(tenant).bind(id).execute(&mut **conn).await?;
    let job = sqlx::query("DELETE FROM jobs WHERE tenant_id = $1 AND job_id = $2");
    Ok(job.bind(tenant).bind(id).execute(&mut **conn).await?.rows_affected() == 1)
}
