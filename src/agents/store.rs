//! SQL for agents.

use crate::agents::{Agent, AgentProfile, AgentStats};
use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{AgentUid, ExternalId, Tag, TenantId};
use crate::usage::AgentUse;

/// Inserts an agent and its private scope. False: someone else has just done so.
pub async fn insert(conn: &mut TenantConn, tenant: TenantId, id: &ExternalId, profile: &AgentProfile) -> Result<bool> {
    let uid = AgentUid::random();
    let inserted = sqlx::query(
        "INSERT INTO agents (tenant_id, agent_uid, agent_id, name, metadata)
         VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT ON CONSTRAINT agents_id_key DO NOTHING",
    )
    .bind(tenant)
    .bind(uid)
    .bind(id)
    .bind(&profile.name)
    .bind(sqlx::types::Json(&profile.metadata))
    .execute(&mut **conn)
    .await?
    .rows_affected();
    if inserted == 0 {
        return Ok(false);
    }
    sqlx::query("INSERT INTO scope_epochs (tenant_id, scope_id, tag) VALUES ($1, $2, $3)")
        .bind(tenant)
        .bind(uid.scope())
        .bind(Tag::random())
        .execute(&mut **conn)
        .await?;
    Ok(true)
}

pub async fn find(conn: &mut TenantConn, tenant: TenantId, id: &ExternalId) -> Result<Option<Agent>> {
    let agent = sqlx::query_as(
        "SELECT agent_id, name, metadata, created_at, updated_at, agent_uid, version
           FROM agents
          WHERE tenant_id = $1 AND agent_id = $2",
    )
    .bind(tenant)
    .bind(id)
    .fetch_optional(&mut **conn)
    .await?;
    Ok(agent)
}

/// In the order of their ids, after the given one; `only` narrows the list to one agent.
pub async fn list(
    conn: &mut TenantConn,
    tenant: TenantId,
    only: Option<&ExternalId>,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Agent>> {
    let agents = sqlx::query_as(
        "SELECT agent_id, name, metadata, created_at, updated_at, agent_uid, version
           FROM agents
          WHERE tenant_id = $1
            AND ($2::text IS NULL OR agent_id = $2)
            AND ($3::text IS NULL OR agent_id > $3)
          ORDER BY agent_id
          LIMIT $4",
    )
    .bind(tenant)
    .bind(only)
    .bind(after)
    .bind(limit)
    .fetch_all(&mut **conn)
    .await?;
    Ok(agents)
}

/// Locks the row against changes until the commit.
pub async fn find_for_update(conn: &mut TenantConn, tenant: TenantId, id: &ExternalId) -> Result<Option<Agent>> {
    let agent = sqlx::query_as(
        "SELECT agent_id, name, metadata, created_at, updated_at, agent_uid, version
           FROM agents
          WHERE tenant_id = $1 AND agent_id = $2
            FOR NO KEY UPDATE",
    )
    .bind(tenant)
    .bind(id)
    .fetch_optional(&mut **conn)
    .await?;
    Ok(agent)
}

pub async fn update(conn: &mut TenantConn, tenant: TenantId, agent: AgentUid, profile: &AgentProfile) -> Result<()> {
    sqlx::query(
        "UPDATE agents
            SET name = $3, metadata = $4, version = version + 1, updated_at = now()
          WHERE tenant_id = $1 AND agent_uid = $2",
    )
    .bind(tenant)
    .bind(agent)
    .bind(&profile.name)
    .bind(sqlx::types::Json(&profile.metadata))
    .execute(&mut **conn)
    .await?;
    Ok(())
}

/// Keeps the agent from going away until the commit. After the tenant, first in the lock order.
pub async fn lock(conn: &mut TenantConn, tenant: TenantId, id: &ExternalId) -> Result<Option<AgentUid>> {
    let uid = sqlx::query_scalar(
        "SELECT agent_uid
           FROM agents
          WHERE tenant_id = $1 AND agent_id = $2
            FOR KEY SHARE",
    )
    .bind(tenant)
    .bind(id)
    .fetch_optional(&mut **conn)
    .await?;
    Ok(uid)
}

/// Inserts each of these where it is unknown, in the order of their names, which keeps two that insert the same ones
/// from deadlock.
pub async fn insert_many(conn: &mut TenantConn, tenant: TenantId, ids: &[ExternalId]) -> Result<()> {
    let uids: Vec<AgentUid> = ids.iter().map(|_| AgentUid::random()).collect();
    let tags: Vec<Tag> = ids.iter().map(|_| Tag::random()).collect();
    sqlx::query(
        "WITH inserted AS (
             INSERT INTO agents (tenant_id, agent_uid, agent_id)
             SELECT $1, agent_uid, agent_id
               FROM unnest($2::uuid[], $3::text[]) AS wanted (agent_uid, agent_id)
              ORDER BY agent_id
                 ON CONFLICT ON CONSTRAINT agents_id_key DO NOTHING
          RETURNING agent_uid
         )
         INSERT INTO scope_epochs (tenant_id, scope_id, tag)
         SELECT $1, inserted.agent_uid, wanted.tag
           FROM inserted
           JOIN unnest($2::uuid[], $4::uuid[]) AS wanted (agent_uid, tag) ON wanted.agent_uid = inserted.agent_uid",
    )
    .bind(tenant)
    .bind(&uids)
    .bind(ids.iter().map(ExternalId::as_str).collect::<Vec<_>>())
    .bind(&tags)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

pub async fn count_known(conn: &mut TenantConn, tenant: TenantId, ids: &[ExternalId]) -> Result<i64> {
    let count = sqlx::query_scalar("SELECT count(*) FROM agents WHERE tenant_id = $1 AND agent_id = ANY($2)");
    let names: Vec<&str> = ids.iter().map(ExternalId::as_str).collect();
    Ok(count.bind(tenant).bind(names).fetch_one(&mut **conn).await?)
}

/// Gives the locks of `try_to_count` back.
pub async fn release(conn: &mut TenantConn) -> Result<()> {
    sqlx::query("ROLLBACK TO SAVEPOINT counted").execute(&mut **conn).await?;
    keep(conn).await
}

/// Keeps the locks of `try_to_count`.
pub async fn keep(conn: &mut TenantConn) -> Result<()> {
    sqlx::query("RELEASE SAVEPOINT counted").execute(&mut **conn).await?;
    Ok(())
}

/// Keeps these agents from going away, and others from counting their circles, until the commit; the locks are
/// to be kept or given back.
pub async fn try_to_count(
    conn: &mut TenantConn,
    tenant: TenantId,
    ids: &[ExternalId],
) -> Result<Vec<(ExternalId, AgentUid)>> {
    let agents = sqlx::query_as(
        "SELECT agent_id, agent_uid
           FROM agents
          WHERE tenant_id = $1 AND agent_id = ANY($2)
          ORDER BY agent_uid
            FOR NO KEY UPDATE",
    );
    let names: Vec<&str> = ids.iter().map(ExternalId::as_str).collect();
    sqlx::query("SAVEPOINT counted").execute(&mut **conn).await?;
    Ok(agents.bind(tenant).bind(names).fetch_all(&mut **conn).await?)
}

/// Keeps everyone else from writing for this agent until the commit that deletes it.
pub async fn lock_exclusively(conn: &mut TenantConn, tenant: TenantId, id: &ExternalId) -> Result<Option<Agent>> {
    let agent = sqlx::query_as(
        "SELECT agent_id, name, metadata, created_at, updated_at, agent_uid, version
           FROM agents
          WHERE tenant_id = $1 AND agent_id = $2
            FOR UPDATE",
    )
    .bind(tenant)
    .bind(id)
    .fetch_optional(&mut **conn)
    .await?;
    Ok(agent)
}

/// Deletes the agent's own row and its scope. What refers to it must be gone.
pub async fn delete(conn: &mut TenantConn, tenant: TenantId, agent: AgentUid) -> Result<()> {
    sqlx::query("DELETE FROM agents WHERE tenant_id = $1 AND agent_uid = $2")
        .bind(tenant)
        .bind(agent)
        .execute(&mut **conn)
        .await?;
    for statement in [
        "DELETE FROM scope_removals WHERE tenant_id = $1 AND scope_id = $2",
        "DELETE FROM scope_epochs WHERE tenant_id = $1 AND scope_id = $2",
    ] {
        sqlx::query(statement).bind(tenant).bind(agent.scope()).execute(&mut **conn).await?;
    }
    Ok(())
}

/// What it remembers now, with its recalls as they were counted.
pub async fn count(conn: &mut TenantConn, tenant: TenantId, agent: AgentUid, recalled: AgentUse) -> Result<AgentStats> {
    let kinds: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT kind, count(*), sum(octet_length(content))::bigint
           FROM memories
          WHERE tenant_id = $1 AND agent_uid = $2 AND (expires_at IS NULL OR expires_at > now())
          GROUP BY kind",
    )
    .bind(tenant)
    .bind(agent)
    .fetch_all(&mut **conn)
    .await?;
    let circles = sqlx::query_scalar("SELECT count(*) FROM circle_members WHERE tenant_id = $1 AND agent_uid = $2")
        .bind(tenant)
        .bind(agent)
        .fetch_one(&mut **conn)
        .await?;
    Ok(AgentStats {
        memories: kinds.iter().map(|(_, memories, _)| memories).sum(),
        bytes: kinds.iter().map(|(_, _, bytes)| bytes).sum(),
        memories_by_kind: kinds.into_iter().map(|(kind, memories, _)| (kind, memories)).collect(),
        circles,
        recalls: recalled.recalls,
        hit_rate: (recalled.recalls > 0).then(|| recalled.hits as f64 / recalled.recalls as f64),
    })
}
