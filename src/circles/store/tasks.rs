//! SQL for tasks. Whoever changes one holds its row.

use sqlx::AssertSqlSafe;

use crate::circles::model::{Standing, Task, TaskCounts, TaskFields, TaskQuery};
use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{CircleUid, TaskId, TenantId};

/// `$1` is the tenant, `$2` the circle.
const SELECT: &str = "
    SELECT t.task_id, t.title, t.details, t.state, a.agent_id AS assignee, t.priority, t.result, t.reason,
           t.created_at, t.updated_at, t.version, t.assignee AS assignee_uid
      FROM tasks t
      LEFT JOIN agents a ON a.tenant_id = t.tenant_id AND a.agent_uid = t.assignee
     WHERE t.tenant_id = $1 AND t.circle_uid = $2";

/// The most urgent first, of those the oldest.
const ORDER: &str = "ORDER BY t.priority DESC, t.task_id";

/// Inserts an open task. Whom it names must be locked.
pub async fn insert(
    conn: &mut TenantConn,
    tenant: TenantId,
    circle: CircleUid,
    id: TaskId,
    fields: &TaskFields,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO tasks (tenant_id, task_id, circle_uid, title, details, assignee, priority)
         VALUES ($1, $2, $3, $4, $5, (SELECT a.agent_uid FROM agents a WHERE a.tenant_id = $1 AND a.agent_id = $6), $7)",
    )
    .bind(tenant)
    .bind(id)
    .bind(circle)
    .bind(&fields.title)
    .bind(&fields.details)
    .bind(&fields.assignee)
    .bind(fields.priority)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

pub async fn find(conn: &mut TenantConn, tenant: TenantId, circle: CircleUid, id: TaskId) -> Result<Option<Task>> {
    let task = sqlx::query_as(AssertSqlSafe(format!("{SELECT} AND t.task_id = $3")));
    Ok(task.bind(tenant).bind(circle).bind(id).fetch_optional(&mut **conn).await?)
}

pub async fn list(conn: &mut TenantConn, tenant: TenantId, circle: CircleUid, wanted: &TaskQuery) -> Result<Vec<Task>> {
    let sql = format!(
        "{SELECT}
            AND ($3::text IS NULL OR t.state = $3)
            AND ($4::text IS NULL OR a.agent_id = $4)
            AND ($5::smallint IS NULL OR t.priority = $5)
            AND ($6::smallint IS NULL OR (t.priority <= $6 AND (t.priority < $6 OR t.task_id > $7)))
          {ORDER}
          LIMIT $8"
    );
    let tasks = sqlx::query_as(AssertSqlSafe(sql))
        .bind(tenant)
        .bind(circle)
        .bind(wanted.state)
        .bind(&wanted.assignee)
        .bind(wanted.priority)
        .bind(wanted.after.map(|position| position.priority))
        .bind(wanted.after.map(|position| position.id))
        .bind(wanted.limit)
        .fetch_all(&mut **conn)
        .await?;
    Ok(tasks)
}

/// The first of those on which something remains to be done.
pub async fn active(conn: &mut TenantConn, tenant: TenantId, circle: CircleUid, limit: i64) -> Result<Vec<Task>> {
    let sql = format!("{SELECT} AND t.state IN ('open', 'claimed', 'submitted') {ORDER} LIMIT $3");
    Ok(sqlx::query_as(AssertSqlSafe(sql)).bind(tenant).bind(circle).bind(limit).fetch_all(&mut **conn).await?)
}

pub async fn counts(conn: &mut TenantConn, tenant: TenantId, circle: CircleUid) -> Result<TaskCounts> {
    let counts = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE state = 'open') AS open,
                count(*) FILTER (WHERE state = 'claimed') AS claimed,
                count(*) FILTER (WHERE state = 'submitted') AS submitted,
                count(*) FILTER (WHERE state = 'approved') AS approved,
                count(*) FILTER (WHERE state = 'cancelled') AS cancelled
           FROM tasks
          WHERE tenant_id = $1 AND circle_uid = $2",
    );
    Ok(counts.bind(tenant).bind(circle).fetch_one(&mut **conn).await?)
}

/// Writes what is said about a task. Whom it names must be locked.
pub async fn update(conn: &mut TenantConn, tenant: TenantId, id: TaskId, fields: &TaskFields) -> Result<()> {
    sqlx::query(
        "UPDATE tasks
            SET title = $3, details = $4, priority = $6,
                assignee = (SELECT a.agent_uid FROM agents a WHERE a.tenant_id = $1 AND a.agent_id = $5),
                version = version + 1, updated_at = clock_timestamp()
          WHERE tenant_id = $1 AND task_id = $2",
    )
    .bind(tenant)
    .bind(id)
    .bind(&fields.title)
    .bind(&fields.details)
    .bind(&fields.assignee)
    .bind(fields.priority)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

/// Writes what a step changed. The clock is read under the lock: the times of a task's moves are in their order.
pub async fn update_standing(conn: &mut TenantConn, tenant: TenantId, id: TaskId, standing: &Standing) -> Result<()> {
    sqlx::query(
        "UPDATE tasks
            SET state = $3, assignee = $4, result = $5, reason = $6,
                version = version + 1, updated_at = clock_timestamp()
          WHERE tenant_id = $1 AND task_id = $2",
    )
    .bind(tenant)
    .bind(id)
    .bind(standing.state)
    .bind(standing.assignee)
    .bind(&standing.result)
    .bind(&standing.reason)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

/// Takes the assignee from these tasks; those that it works on are open again.
pub async fn update_assignee_gone(conn: &mut TenantConn, tenant: TenantId, tasks: &[TaskId]) -> Result<()> {
    sqlx::query(
        "UPDATE tasks
            SET state = CASE state WHEN 'claimed' THEN 'open' ELSE state END, assignee = NULL,
                version = version + 1, updated_at = clock_timestamp()
          WHERE tenant_id = $1 AND task_id = ANY($2)",
    )
    .bind(tenant)
    .bind(tasks)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

pub async fn delete(conn: &mut TenantConn, tenant: TenantId, id: TaskId) -> Result<()> {
    for statement in [
        "DELETE FROM task_moves WHERE tenant_id = $1 AND task_id = $2",
        "DELETE FROM tasks WHERE tenant_id = $1 AND task_id = $2",
    ] {
        sqlx::query(statement).bind(tenant).bind(id).execute(&mut **conn).await?;
    }
    Ok(())
}

/// Deletes all tasks of a circle that nobody works in any more, with their history; returns how many.
pub async fn delete_all(conn: &mut TenantConn, tenant: TenantId, circle: CircleUid) -> Result<u64> {
    sqlx::query(
        "DELETE FROM task_moves m
          USING tasks t
          WHERE t.tenant_id = $1 AND t.circle_uid = $2 AND m.tenant_id = t.tenant_id AND m.task_id = t.task_id",
    )
    .bind(tenant)
    .bind(circle)
    .execute(&mut **conn)
    .await?;
    let gone = sqlx::query("DELETE FROM tasks WHERE tenant_id = $1 AND circle_uid = $2");
    Ok(gone.bind(tenant).bind(circle).execute(&mut **conn).await?.rows_affected())
}
