//! SQL that locks memories before a write decides about them; always in the order of their ids.

use sqlx::{Postgres, QueryBuilder};

use crate::db::TenantConn;
use crate::error::{Error, Result};
use crate::ids::{AgentUid, MemoryId, TenantId};
use crate::memories::MemoryFilter;
use crate::memories::fields::MemoryKey;

/// Locks the memories of these keys against edits, in the order of their ids.
pub async fn lock_keys(
    conn: &mut TenantConn,
    tenant: TenantId,
    agent: AgentUid,
    keys: &[MemoryKey],
) -> Result<Vec<MemoryId>> {
    let keys: Vec<&str> = keys.iter().map(MemoryKey::as_str).collect();
    let ids = sqlx::query_scalar(
        "SELECT memory_id FROM memories
          WHERE tenant_id = $1 AND agent_uid = $2 AND key = ANY($3)
          ORDER BY memory_id
            FOR NO KEY UPDATE",
    )
    .bind(tenant)
    .bind(agent)
    .bind(keys)
    .fetch_all(&mut **conn)
    .await?;
    Ok(ids)
}

/// Locks one memory against edits; false if it is gone.
pub async fn lock(conn: &mut TenantConn, tenant: TenantId, id: MemoryId) -> Result<bool> {
    let row = sqlx::query("SELECT FROM memories WHERE tenant_id = $1 AND memory_id = $2 FOR NO KEY UPDATE")
        .bind(tenant)
        .bind(id)
        .fetch_optional(&mut **conn)
        .await?;
    Ok(row.is_some())
}

/// Locks memories that are to be deleted. Those that are gone, or no longer match, are left out.
pub async fn lock_for_delete(conn: &mut TenantConn, tenant: TenantId, ids: &[MemoryId]) -> Result<Vec<MemoryId>> {
    let locked = sqlx::query_scalar(
        "SELECT memory_id FROM memories
          WHERE tenant_id = $1 AND memory_id = ANY($2)
          ORDER BY memory_id
            FOR UPDATE",
    )
    .bind(tenant)
    .bind(ids)
    .fetch_all(&mut **conn)
    .await?;
    Ok(locked)
}

/// Locks an agent's own memories that match. A row that changes meanwhile is checked again by Postgres.
pub async fn lock_matching(
    conn: &mut TenantConn,
    tenant: TenantId,
    agent: AgentUid,
    filter: &MemoryFilter,
) -> Result<Vec<MemoryId>> {
    let mut sql = QueryBuilder::<Postgres>::new("SELECT m.memory_id FROM memories m WHERE m.tenant_id = ");
    sql.push_bind(tenant).push(" AND m.agent_uid = ").push_bind(agent);
    sql.push(" AND (m.expires_at IS NULL OR m.expires_at > statement_timestamp())");
    filter.push(&mut sql, tenant);
    sql.push(" ORDER BY m.memory_id FOR UPDATE");
    Ok(sql.build_query_scalar().fetch_all(&mut **conn).await?)
}

/// Locks what has expired by the database's clock, the oldest first.
pub async fn lock_expired(conn: &mut TenantConn, tenant: TenantId, limit: i64) -> Result<Vec<MemoryId>> {
    let mut ids: Vec<MemoryId> = sqlx::query_scalar(
        "SELECT memory_id FROM memories
          WHERE tenant_id = $1 AND expires_at <= now()
          ORDER BY expires_at
          LIMIT $2",
    )
    .bind(tenant)
    .bind(limit)
    .fetch_all(&mut **conn)
    .await?;
    ids.sort_unstable();
    sqlx::query_scalar(
        "SELECT memory_id FROM memories
          WHERE tenant_id = $1 AND memory_id = ANY($2) AND expires_at <= now()
          ORDER BY memory_id
            FOR UPDATE",
    )
    .bind(tenant)
    .bind(ids)
    .fetch_all(&mut **conn)
    .await
    .map_err(Error::from)
}

/// All memories of an agent, locked for their end.
pub async fn lock_author(conn: &mut TenantConn, tenant: TenantId, agent: AgentUid) -> Result<Vec<MemoryId>> {
    let ids = sqlx::query_scalar(
        "SELECT memory_id FROM memories
          WHERE tenant_id = $1 AND agent_uid = $2
          ORDER BY memory_id
            FOR UPDATE",
    )
    .bind(tenant)
    .bind(agent)
    .fetch_all(&mut **conn)
    .await?;
    Ok(ids)
}
