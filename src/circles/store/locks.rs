//! SQL that locks a circle and the role of whoever acts there: after agents, before tasks and memories.

use crate::auth::Role;
use crate::circles::model::Circle;
use crate::circles::store::circles::SELECT;
use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{AgentUid, CircleUid, ExternalId, ScopeId, TenantId};
use sqlx::AssertSqlSafe;

/// Keeps a circle from going away until the commit; returns its board, or none if it is gone.
pub async fn lock(conn: &mut TenantConn, tenant: TenantId, circle: CircleUid) -> Result<Option<ScopeId>> {
    let board =
        sqlx::query_scalar("SELECT board_scope FROM circles WHERE tenant_id = $1 AND circle_uid = $2 FOR KEY SHARE");
    Ok(board.bind(tenant).bind(circle).fetch_optional(&mut **conn).await?)
}

/// Keeps everyone else from changing the circle or its members; what is counted then still holds at the commit.
pub async fn lock_settings(conn: &mut TenantConn, tenant: TenantId, id: &ExternalId) -> Result<Option<Circle>> {
    let circle = sqlx::query_as(AssertSqlSafe(format!("{SELECT} AND c.circle_id = $3 FOR NO KEY UPDATE OF c")));
    Ok(circle.bind(tenant).bind(None::<AgentUid>).bind(id).fetch_optional(&mut **conn).await?)
}

/// Keeps everyone else from working in the circle until the commit that deletes it.
pub async fn lock_exclusively(conn: &mut TenantConn, tenant: TenantId, id: &ExternalId) -> Result<Option<Circle>> {
    let circle = sqlx::query_as(AssertSqlSafe(format!("{SELECT} AND c.circle_id = $3 FOR UPDATE OF c")));
    Ok(circle.bind(tenant).bind(None::<AgentUid>).bind(id).fetch_optional(&mut **conn).await?)
}

/// An agent's role, which cannot change before the commit; none: it is no member.
pub async fn lock_role(
    conn: &mut TenantConn,
    tenant: TenantId,
    circle: CircleUid,
    agent: AgentUid,
) -> Result<Option<Role>> {
    let role = sqlx::query_scalar(
        "SELECT role FROM circle_members
          WHERE tenant_id = $1 AND circle_uid = $2 AND agent_uid = $3
            FOR SHARE",
    );
    Ok(role.bind(tenant).bind(circle).bind(agent).fetch_optional(&mut **conn).await?)
}
