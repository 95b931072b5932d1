//! SQL for what has outlived its time.

use std::time::Duration;

use sqlx::PgPool;

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::TenantId;
use crate::jobs::model::Chore;

/// A page of the tenants where a chore finds something older than it is kept for, by id.
pub async fn tenants_to_purge(
    pool: &PgPool,
    chore: Chore,
    kept: Duration,
    after: Option<TenantId>,
    limit: i64,
) -> Result<Vec<TenantId>> {
    let tenants = sqlx::query_scalar("SELECT * FROM tenants_to_purge($1, $2, $3, $4)");
    Ok(tenants.bind(chore.name()).bind(kept.as_secs_f64()).bind(after).bind(limit).fetch_all(pool).await?)
}

/// Deletes at most `limit` runs of a tenant that ended so long ago; returns how many.
pub async fn delete_finished(conn: &mut TenantConn, tenant: TenantId, kept: Duration, limit: i64) -> Result<u64> {
    let done = sqlx::query(
        "DELETE FROM job_runs
          WHERE tenant_id = $1
            AND run_id = ANY(ARRAY(SELECT run_id FROM job_runs
                                    WHERE tenant_id = $1 AND finished_at < now() - make_interval(secs => $2)
                                    ORDER BY finished_at
                                    LIMIT $3
                                      FOR UPDATE SKIP LOCKED))",
    )
    .bind(tenant)
    .bind(kept.as_secs_f64())
    .bind(limit)
    .execute(&mut **conn)
    .await?;
    Ok(done.rows_affected())
}
