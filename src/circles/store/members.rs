//! SQL for memberships. Whoever counts them holds the circle's row, or the agent's.

use crate::auth::Role;
use crate::circles::model::{Circle, Member};
use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{AgentUid, CircleUid, ExternalId, TenantId};

/// In the order of the agents' ids, after the given one.
pub async fn list(
    conn: &mut TenantConn,
    tenant: TenantId,
    circle: CircleUid,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Member>> {
    let members = sqlx::query_as(
        "SELECT a.agent_id, m.role, m.joined_at, m.agent_uid
           FROM circle_members m
           JOIN agents a ON a.tenant_id = m.tenant_id AND a.agent_uid = m.agent_uid
          WHERE m.tenant_id = $1 AND m.circle_uid = $2 AND ($3::text IS NULL OR a.agent_id > $3)
          ORDER BY a.agent_id
          LIMIT $4",
    );
    Ok(members.bind(tenant).bind(circle).bind(after).bind(limit).fetch_all(&mut **conn).await?)
}

/// A member by the agent's name.
pub async fn find(
    conn: &mut TenantConn,
    tenant: TenantId,
    circle: CircleUid,
    agent: &ExternalId,
) -> Result<Option<Member>> {
    let member = sqlx::query_as(
        "SELECT a.agent_id, m.role, m.joined_at, m.agent_uid
           FROM agents a
           JOIN circle_members m ON m.tenant_id = a.tenant_id AND m.agent_uid = a.agent_uid
          WHERE a.tenant_id = $1 AND a.agent_id = $3 AND m.circle_uid = $2",
    );
    Ok(member.bind(tenant).bind(circle).bind(agent).fetch_optional(&mut **conn).await?)
}

pub async fn find_role(
    conn: &mut TenantConn,
    tenant: TenantId,
    circle: CircleUid,
    agent: AgentUid,
) -> Result<Option<Role>> {
    let role = sqlx::query_scalar(
        "SELECT role FROM circle_members WHERE tenant_id = $1 AND circle_uid = $2 AND agent_uid = $3",
    );
    Ok(role.bind(tenant).bind(circle).bind(agent).fetch_optional(&mut **conn).await?)
}

pub async fn list_owners(conn: &mut TenantConn, tenant: TenantId, circle: CircleUid) -> Result<Vec<Member>> {
    let owners = sqlx::query_as(
        "SELECT a.agent_id, m.role, m.joined_at, m.agent_uid
           FROM circle_members m
           JOIN agents a ON a.tenant_id = m.tenant_id AND a.agent_uid = m.agent_uid
          WHERE m.tenant_id = $1 AND m.circle_uid = $2 AND m.role = 'owner'
          ORDER BY a.agent_id",
    );
    Ok(owners.bind(tenant).bind(circle).fetch_all(&mut **conn).await?)
}

/// Those of these agents that are members.
pub async fn find_many(
    conn: &mut TenantConn,
    tenant: TenantId,
    circle: CircleUid,
    agents: &[AgentUid],
) -> Result<Vec<Member>> {
    let members = sqlx::query_as(
        "SELECT a.agent_id, m.role, m.joined_at, m.agent_uid
           FROM circle_members m
           JOIN agents a ON a.tenant_id = m.tenant_id AND a.agent_uid = m.agent_uid
          WHERE m.tenant_id = $1 AND m.circle_uid = $2 AND m.agent_uid = ANY($3)",
    );
    Ok(members.bind(tenant).bind(circle).bind(agents).fetch_all(&mut **conn).await?)
}

/// How many members a circle has, and how many of them own it.
pub async fn count(conn: &mut TenantConn, tenant: TenantId, circle: CircleUid) -> Result<(i64, i64)> {
    let counts = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE role = 'owner')
           FROM circle_members
          WHERE tenant_id = $1 AND circle_uid = $2",
    );
    Ok(counts.bind(tenant).bind(circle).fetch_one(&mut **conn).await?)
}

/// The first of these agents, by name, that is in so many circles already.
pub async fn find_in_most(
    conn: &mut TenantConn,
    tenant: TenantId,
    agents: &[AgentUid],
    most: i64,
) -> Result<Option<ExternalId>> {
    let full = sqlx::query_scalar(
        "SELECT a.agent_id
           FROM unnest($2::uuid[]) AS wanted (agent_uid)
          CROSS JOIN LATERAL (SELECT count(*) AS circles
                                FROM circle_members m
                               WHERE m.tenant_id = $1 AND m.agent_uid = wanted.agent_uid) held
           JOIN agents a ON a.tenant_id = $1 AND a.agent_uid = wanted.agent_uid
          WHERE held.circles >= $3
          ORDER BY a.agent_id
          LIMIT 1",
    );
    Ok(full.bind(tenant).bind(agents).bind(most).fetch_optional(&mut **conn).await?)
}

/// Makes these agents members with these roles, or gives them these roles; who is one keeps when it joined.
pub async fn upsert(
    conn: &mut TenantConn,
    tenant: TenantId,
    circle: &Circle,
    members: &[(AgentUid, Role)],
) -> Result<()> {
    let (agents, roles): (Vec<AgentUid>, Vec<&str>) = members.iter().map(|(agent, role)| (*agent, role.name())).unzip();
    sqlx::query(
        "INSERT INTO circle_members (tenant_id, agent_uid, circle_uid, role, circle_id, content_scope)
         SELECT $1, agent_uid, $2, role, $3, $4
           FROM unnest($5::uuid[], $6::text[]) AS wanted (agent_uid, role)
          ORDER BY agent_uid
             ON CONFLICT ON CONSTRAINT circle_members_pkey DO UPDATE SET role = excluded.role",
    )
    .bind(tenant)
    .bind(circle.circle_uid)
    .bind(&circle.id)
    .bind(circle.content_scope)
    .bind(agents)
    .bind(roles)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

pub async fn delete(conn: &mut TenantConn, tenant: TenantId, circle: CircleUid, agent: AgentUid) -> Result<()> {
    sqlx::query("DELETE FROM circle_members WHERE tenant_id = $1 AND circle_uid = $2 AND agent_uid = $3")
        .bind(tenant)
        .bind(circle)
        .bind(agent)
        .execute(&mut **conn)
        .await?;
    Ok(())
}

/// Everyone, once they are locked; returns how many.
pub async fn delete_all(conn: &mut TenantConn, tenant: TenantId, circle: CircleUid) -> Result<u64> {
    let gone = sqlx::query("DELETE FROM circle_members WHERE tenant_id = $1 AND circle_uid = $2");
    Ok(gone.bind(tenant).bind(circle).execute(&mut **conn).await?.rows_affected())
}

/// Out of every circle, once its memberships are locked; returns how many.
pub async fn delete_agent(conn: &mut TenantConn, tenant: TenantId, agent: AgentUid) -> Result<u64> {
    let gone = sqlx::query("DELETE FROM circle_members WHERE tenant_id = $1 AND agent_uid = $2");
    Ok(gone.bind(tenant).bind(agent).execute(&mut **conn).await?.rows_affected())
}
