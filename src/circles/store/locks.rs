//! SQL that locks a circle and the role of whoever acts there: after agents, before tasks and memories.

use sqlx::AssertSqlSafe;

use crate::auth::Role;
use crate::circles::model::Circle;
use crate::circles::store::circles::SELECT;
use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{AgentUid, CircleUid, ExternalId, ScopeId, TenantId};

/// Keeps a circle from going away until the commit. False: it is gone.
pub async fn lock(conn: &mut TenantConn, tenant: TenantId, circle: CircleUid) -> Result<bool> {
    let locked = sqlx::query("SELECT FROM circles WHERE tenant_id = $1 AND circle_uid = $2 FOR KEY SHARE");
    Ok(locked.bind(tenant).bind(circle).fetch_optional(&mut **conn).await?.is_some())
}

/// Keeps everyone else from changing the circle or its members; what is counted then, and every role, still holds at
/// the commit.
pub async fn lock_settings(conn: &mut TenantConn, tenant: TenantId, id: &ExternalId) -> Result<Option<Circle>> {
    let circle = sqlx::query_as(AssertSqlSafe(format!("{SELECT} AND c.circle_id = $3 FOR NO KEY UPDATE OF c")));
    Ok(circle.bind(tenant).bind(None::<AgentUid>).bind(id).fetch_optional(&mut **conn).await?)
}

/// Keeps everyone else from working in the circle until the commit that deletes it: first its members, in the order
/// in which others lock them, then whoever acts without an agent.
pub async fn lock_exclusively(conn: &mut TenantConn, tenant: TenantId, circle: CircleUid) -> Result<()> {
    for sql in [
        "SELECT FROM circle_members WHERE tenant_id = $1 AND circle_uid = $2 ORDER BY agent_uid FOR UPDATE",
        "SELECT FROM circles WHERE tenant_id = $1 AND circle_uid = $2 FOR UPDATE",
    ] {
        sqlx::query(sql).bind(tenant).bind(circle).execute(&mut **conn).await?;
    }
    Ok(())
}

/// An agent's role, which cannot change before the commit, nor can the circle go; none: it is no member. Locked
/// against its like: shared locks could follow each other for ever, and whoever is to remove the agent would wait.
pub async fn lock_role(
    conn: &mut TenantConn,
    tenant: TenantId,
    circle: CircleUid,
    agent: AgentUid,
) -> Result<Option<Role>> {
    let role = sqlx::query_scalar(
        "SELECT role FROM circle_members
          WHERE tenant_id = $1 AND circle_uid = $2 AND agent_uid = $3
            FOR NO KEY UPDATE",
    );
    Ok(role.bind(tenant).bind(circle).bind(agent).fetch_optional(&mut **conn).await?)
}

/// Locks an agent's memberships for its end, in the order in which others lock them.
pub async fn lock_memberships(conn: &mut TenantConn, tenant: TenantId, agent: AgentUid) -> Result<()> {
    sqlx::query("SELECT FROM circle_members WHERE tenant_id = $1 AND agent_uid = $2 ORDER BY circle_uid FOR UPDATE")
        .bind(tenant)
        .bind(agent)
        .execute(&mut **conn)
        .await?;
    Ok(())
}

/// Locks the circles that an agent is in, or is named in by a task, for its end; returns each with its board.
pub async fn lock_circles_of(
    conn: &mut TenantConn,
    tenant: TenantId,
    agent: AgentUid,
) -> Result<Vec<(CircleUid, ScopeId)>> {
    let circles = sqlx::query_as(
        "SELECT c.circle_uid, c.board_scope
           FROM circles c
          WHERE c.tenant_id = $1
            AND c.circle_uid IN (SELECT m.circle_uid FROM circle_members m WHERE m.tenant_id = $1 AND m.agent_uid = $2
                                  UNION
                                 SELECT t.circle_uid FROM tasks t WHERE t.tenant_id = $1 AND t.assignee = $2)
          ORDER BY c.circle_uid
            FOR NO KEY UPDATE",
    );
    Ok(circles.bind(tenant).bind(agent).fetch_all(&mut **conn).await?)
}
