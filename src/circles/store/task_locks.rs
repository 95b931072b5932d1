//! SQL that locks tasks: after circles and their members, before memories and scopes.

use crate::circles::model::TaskState;
use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{AgentUid, CircleUid, TaskId, TenantId};

/// A task that names an agent.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub struct Assigned {
    #[sqlx(rename = "task_id")]
    pub id: TaskId,
    #[sqlx(rename = "circle_uid")]
    pub circle: CircleUid,
    pub state: TaskState,
}

/// Keeps everyone else from changing a task until the commit. False: there is none.
pub async fn lock(conn: &mut TenantConn, tenant: TenantId, circle: CircleUid, id: TaskId) -> Result<bool> {
    let task = sqlx::query(
        "SELECT FROM tasks
          WHERE tenant_id = $1 AND circle_uid = $2 AND task_id = $3
            FOR NO KEY UPDATE",
    );
    Ok(task.bind(tenant).bind(circle).bind(id).fetch_optional(&mut **conn).await?.is_some())
}

/// The tasks that name an agent, in one circle or in all, locked in the order of their ids. No more can appear when
/// the agent's membership, or the agent itself, is locked.
pub async fn lock_assigned(
    conn: &mut TenantConn,
    tenant: TenantId,
    agent: AgentUid,
    circle: Option<CircleUid>,
) -> Result<Vec<Assigned>> {
    let tasks = sqlx::query_as(
        "SELECT task_id, circle_uid, state
           FROM tasks
          WHERE tenant_id = $1 AND assignee = $2 AND ($3::uuid IS NULL OR circle_uid = $3)
          ORDER BY task_id
            FOR NO KEY UPDATE",
    );
    Ok(tasks.bind(tenant).bind(agent).bind(circle).fetch_all(&mut **conn).await?)
}
