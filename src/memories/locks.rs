//! SQL that locks what a write decides about: first memberships, which say who may share, then memories. Each in the
//! order of their ids.

use sqlx::{AssertSqlSafe, FromRow, Postgres, QueryBuilder};

use crate::auth::Role;
use crate::db::TenantConn;
use crate::error::{Error, Result};
use crate::ids::{AgentUid, CircleUid, ExternalId, MemoryId, ScopeId, TenantId};
use crate::memories::MemoryFilter;
use crate::memories::fields::MemoryKey;

/// A circle, by incarnation and by the scope of what is shared there.
#[derive(Debug, Clone, Copy, FromRow)]
pub struct SharedIn {
    #[sqlx(rename = "circle_uid")]
    pub circle: CircleUid,
    #[sqlx(rename = "content_scope")]
    pub content: ScopeId,
}

/// An agent's place in a circle, locked: it stays as it is until the commit, and so does the circle. Locked against
/// its like: shared locks could follow each other for ever, and whoever is to remove the agent would wait.
#[derive(Debug, Clone, FromRow)]
pub struct HeldMembership {
    pub circle_id: ExternalId,
    #[sqlx(rename = "content_scope")]
    pub content: ScopeId,
    pub role: Role,
}

/// Keeps a circle from going away until the commit; returns the scope of what is shared there.
pub async fn lock_circle(conn: &mut TenantConn, tenant: TenantId, id: &ExternalId) -> Result<Option<ScopeId>> {
    let content = sqlx::query_scalar(
        "SELECT content_scope
           FROM circles
          WHERE tenant_id = $1 AND circle_id = $2
            FOR KEY SHARE",
    );
    Ok(content.bind(tenant).bind(id).fetch_optional(&mut **conn).await?)
}

/// An agent's place in a circle; none: it is no member.
pub async fn lock_membership(
    conn: &mut TenantConn,
    tenant: TenantId,
    agent: AgentUid,
    circle: &ExternalId,
) -> Result<Option<HeldMembership>> {
    let held = sqlx::query_as(
        "SELECT circle_id, content_scope, role
           FROM circle_members
          WHERE tenant_id = $1 AND agent_uid = $2 AND circle_id = $3
            FOR NO KEY UPDATE",
    );
    Ok(held.bind(tenant).bind(agent).bind(circle).fetch_optional(&mut **conn).await?)
}

/// Locks an agent's memberships in the circles named, and in those where the memories `$4` are shared. A removal that
/// is under way comes before all of this write, or after all of it.
fn memberships(of_memories: &str) -> String {
    format!(
        "SELECT h.circle_id, h.content_scope, h.role
           FROM circle_members h
          WHERE h.tenant_id = $1
            AND h.agent_uid = $2
            AND (h.circle_id = ANY($3)
                 OR h.content_scope IN (SELECT p.scope_id FROM placement_terms p
                                         WHERE p.tenant_id = $1 AND p.memory_id IN ({of_memories})))
          ORDER BY h.circle_uid
            FOR NO KEY UPDATE"
    )
}

/// Of the circles named and those where the memory is shared.
pub async fn lock_for_memory(
    conn: &mut TenantConn,
    tenant: TenantId,
    agent: AgentUid,
    named: &[ExternalId],
    id: MemoryId,
) -> Result<Vec<HeldMembership>> {
    let held = sqlx::query_as(AssertSqlSafe(memberships("$4")));
    Ok(held.bind(tenant).bind(agent).bind(texts(named)).bind(id).fetch_all(&mut **conn).await?)
}

/// Of the circles named and those where the agent's memories of these keys are shared.
pub async fn lock_for_keys(
    conn: &mut TenantConn,
    tenant: TenantId,
    agent: AgentUid,
    named: &[ExternalId],
    keys: &[MemoryKey],
) -> Result<Vec<HeldMembership>> {
    let keys: Vec<&str> = keys.iter().map(MemoryKey::as_str).collect();
    let keyed = "SELECT k.memory_id FROM memories k WHERE k.tenant_id = $1 AND k.agent_uid = $2 AND k.key = ANY($4)";
    let held = sqlx::query_as(AssertSqlSafe(memberships(keyed)));
    Ok(held.bind(tenant).bind(agent).bind(texts(named)).bind(keys).fetch_all(&mut **conn).await?)
}

fn texts(ids: &[ExternalId]) -> Vec<&str> {
    ids.iter().map(ExternalId::as_str).collect()
}

/// The circles among these scopes where the agent is no member now, or reads only; by name.
pub async fn search_frozen(
    conn: &mut TenantConn,
    tenant: TenantId,
    agent: AgentUid,
    scopes: &[ScopeId],
) -> Result<Vec<ExternalId>> {
    let frozen = sqlx::query_scalar(
        "SELECT c.circle_id
           FROM circles c
           LEFT JOIN circle_members h
             ON h.tenant_id = c.tenant_id AND h.circle_uid = c.circle_uid AND h.agent_uid = $2
          WHERE c.tenant_id = $1 AND c.content_scope = ANY($3) AND coalesce(h.role, 'reader') = 'reader'
          ORDER BY c.circle_id",
    );
    Ok(frozen.bind(tenant).bind(agent).bind(scopes).fetch_all(&mut **conn).await?)
}

/// Locks the agent's memories of these keys or contents against edits, in the order of their ids.
pub async fn lock_equal(
    conn: &mut TenantConn,
    tenant: TenantId,
    agent: AgentUid,
    keys: &[MemoryKey],
    hashes: &[Vec<u8>],
) -> Result<Vec<MemoryId>> {
    if keys.is_empty() && hashes.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<&str> = keys.iter().map(MemoryKey::as_str).collect();
    // One lookup for each, as in `store::search_equal`.
    let ids = sqlx::query_scalar(
        "SELECT memory_id FROM memories
          WHERE tenant_id = $1
            AND memory_id = ANY(ARRAY(
                SELECT m.memory_id
                  FROM unnest($3::text[]) AS wanted (key)
                 CROSS JOIN LATERAL (SELECT memory_id FROM memories
                                      WHERE tenant_id = $1 AND agent_uid = $2 AND key = wanted.key OFFSET 0) m
                 UNION ALL
                SELECT m.memory_id
                  FROM unnest($4::bytea[]) AS wanted (hash)
                 CROSS JOIN LATERAL (SELECT memory_id FROM memories
                                      WHERE tenant_id = $1 AND agent_uid = $2 AND content_hash = wanted.hash OFFSET 0) m))
          ORDER BY memory_id
            FOR NO KEY UPDATE",
    )
    .bind(tenant)
    .bind(agent)
    .bind(keys)
    .bind(hashes)
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

/// All memories shared in a circle, or those of one author, locked against edits. Nobody can share there meanwhile:
/// the circle, or the author's membership, is locked for good.
pub async fn lock_shared(
    conn: &mut TenantConn,
    tenant: TenantId,
    content: ScopeId,
    author: Option<AgentUid>,
) -> Result<Vec<MemoryId>> {
    let ids = sqlx::query_scalar(
        "SELECT m.memory_id
           FROM memories m
          WHERE m.tenant_id = $1
            AND m.memory_id IN (SELECT p.memory_id FROM placement_terms p WHERE p.tenant_id = $1 AND p.scope_id = $2)
            AND ($3::uuid IS NULL OR m.agent_uid = $3)
          ORDER BY m.memory_id
            FOR NO KEY UPDATE",
    );
    Ok(ids.bind(tenant).bind(content).bind(author).fetch_all(&mut **conn).await?)
}
