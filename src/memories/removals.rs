//! SQL for the notes of what left a scope, which let an index of the scope catch up.

use std::time::Duration;

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{ScopeId, TenantId};

/// The scopes of the oldest notes that are older than they are kept for.
pub async fn list_scopes(conn: &mut TenantConn, tenant: TenantId, kept: Duration, limit: i64) -> Result<Vec<ScopeId>> {
    let scopes = sqlx::query_scalar(
        "SELECT DISTINCT old.scope_id
           FROM (SELECT scope_id FROM scope_removals
                  WHERE tenant_id = $1 AND removed_at < now() - make_interval(secs => $2)
                  ORDER BY removed_at
                  LIMIT $3) old",
    );
    Ok(scopes.bind(tenant).bind(kept.as_secs_f64()).bind(limit).fetch_all(&mut **conn).await?)
}

/// Deletes such notes of these scopes, which are locked, and marks where the notes begin from now on.
pub async fn delete(
    conn: &mut TenantConn,
    tenant: TenantId,
    scopes: &[ScopeId],
    kept: Duration,
    limit: i64,
) -> Result<u64> {
    let gone: i64 = sqlx::query_scalar(
        "WITH old AS (
             SELECT scope_id, n, memory_id FROM scope_removals
              WHERE tenant_id = $1 AND scope_id = ANY($2) AND removed_at < now() - make_interval(secs => $3)
              ORDER BY removed_at
              LIMIT $4),
         gone AS (
             DELETE FROM scope_removals r
              USING old
              WHERE r.tenant_id = $1 AND r.scope_id = old.scope_id AND r.n = old.n AND r.memory_id = old.memory_id
          RETURNING r.scope_id, r.n),
         raised AS (
             UPDATE scope_epochs e
                SET floor_n = greatest(e.floor_n, newest.n)
               FROM (SELECT scope_id, max(n) AS n FROM gone GROUP BY scope_id) newest
              WHERE e.tenant_id = $1 AND e.scope_id = newest.scope_id)
         SELECT count(*) FROM gone",
    )
    .bind(tenant)
    .bind(scopes)
    .bind(kept.as_secs_f64())
    .bind(limit)
    .fetch_one(&mut **conn)
    .await?;
    Ok(gone as u64)
}
