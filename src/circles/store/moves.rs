//! SQL for the history of tasks. A task's row is locked while a move is added to it.

use crate::circles::model::{TaskMove, TaskState};
use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{ExternalId, TaskId, TenantId};

/// A move that tasks have just made, to the state in which they are.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    pub from: Option<TaskState>,
    /// The acting agent, if any, and the credential.
    pub agent: Option<&'a ExternalId>,
    pub principal: &'a str,
    pub note: Option<&'a str>,
}

/// Keeps the move of each of these tasks, with the time at which it was written.
pub async fn insert(conn: &mut TenantConn, tenant: TenantId, tasks: &[TaskId], made: Made<'_>) -> Result<()> {
    sqlx::query(
        "INSERT INTO task_moves (tenant_id, task_id, move_no, moved_at, agent_id, moved_by, from_state, to_state, note)
         SELECT t.tenant_id, t.task_id,
                (SELECT coalesce(max(m.move_no), 0) + 1
                   FROM task_moves m
                  WHERE m.tenant_id = t.tenant_id AND m.task_id = t.task_id),
                t.updated_at, $3, $4, $5, t.state, $6
           FROM tasks t
          WHERE t.tenant_id = $1 AND t.task_id = ANY($2)",
    )
    .bind(tenant)
    .bind(tasks)
    .bind(made.agent)
    .bind(made.principal)
    .bind(made.from)
    .bind(made.note)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

/// The moves of a task, oldest first, after the given one.
pub async fn list(
    conn: &mut TenantConn,
    tenant: TenantId,
    id: TaskId,
    after: Option<i32>,
    limit: i64,
) -> Result<Vec<TaskMove>> {
    let moves = sqlx::query_as(
        "SELECT agent_id, moved_by, from_state, to_state, moved_at, note, move_no
           FROM task_moves
          WHERE tenant_id = $1 AND task_id = $2 AND ($3::integer IS NULL OR move_no > $3)
          ORDER BY move_no
          LIMIT $4",
    );
    Ok(moves.bind(tenant).bind(id).bind(after).bind(limit).fetch_all(&mut **conn).await?)
}
