//! SQL for circles themselves.

use sqlx::AssertSqlSafe;

use crate::circles::model::{Circle, CircleOverview, CircleProfile};
use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{AgentUid, CircleUid, ExternalId, ScopeId, Tag, TenantId};

/// `$1` is the tenant, `$2` the acting agent whose role is told (NULL: none).
pub const SELECT: &str = "
    SELECT c.circle_id, c.name, c.purpose, c.metadata, c.created_at, c.updated_at,
           c.circle_uid, c.content_scope, c.board_scope, c.version,
           (SELECT m.role FROM circle_members m
             WHERE m.tenant_id = c.tenant_id AND m.agent_uid = $2 AND m.circle_uid = c.circle_uid) AS role
      FROM circles c
     WHERE c.tenant_id = $1";

/// Inserts a circle and its two scopes. False: someone else has just made one of this name.
pub async fn insert(conn: &mut TenantConn, tenant: TenantId, id: &ExternalId, profile: &CircleProfile) -> Result<bool> {
    let (content, board) = (ScopeId::random(), ScopeId::random());
    let inserted = sqlx::query(
        "INSERT INTO circles (tenant_id, circle_uid, circle_id, name, purpose, metadata, content_scope, board_scope)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT ON CONSTRAINT circles_id_key DO NOTHING",
    )
    .bind(tenant)
    .bind(CircleUid::random())
    .bind(id)
    .bind(&profile.name)
    .bind(&profile.purpose)
    .bind(sqlx::types::Json(&profile.metadata))
    .bind(content)
    .bind(board)
    .execute(&mut **conn)
    .await?
    .rows_affected();
    if inserted == 0 {
        return Ok(false);
    }
    sqlx::query("INSERT INTO scope_epochs (tenant_id, scope_id, tag) VALUES ($1, $2, $3), ($1, $4, $5)")
        .bind(tenant)
        .bind(content)
        .bind(Tag::random())
        .bind(board)
        .bind(Tag::random())
        .execute(&mut **conn)
        .await?;
    Ok(true)
}

pub async fn find(
    conn: &mut TenantConn,
    tenant: TenantId,
    id: &ExternalId,
    acting: Option<AgentUid>,
) -> Result<Option<Circle>> {
    let circle = sqlx::query_as(AssertSqlSafe(format!("{SELECT} AND c.circle_id = $3")));
    Ok(circle.bind(tenant).bind(acting).bind(id).fetch_optional(&mut **conn).await?)
}

/// In the order of their ids, after the given one; of an acting agent, those it is a member of.
pub async fn list(
    conn: &mut TenantConn,
    tenant: TenantId,
    acting: Option<AgentUid>,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Circle>> {
    let sql = format!(
        "{SELECT}
            AND ($2::uuid IS NULL
                 OR c.circle_uid IN (SELECT m.circle_uid FROM circle_members m
                                      WHERE m.tenant_id = $1 AND m.agent_uid = $2))
            AND ($3::text IS NULL OR c.circle_id > $3)
          ORDER BY c.circle_id
          LIMIT $4"
    );
    let circles = sqlx::query_as(AssertSqlSafe(sql)).bind(tenant).bind(acting).bind(after).bind(limit);
    Ok(circles.fetch_all(&mut **conn).await?)
}

/// All of them, with the number of their members and the names of their owners.
pub async fn overview(conn: &mut TenantConn, tenant: TenantId) -> Result<Vec<CircleOverview>> {
    let circles = sqlx::query_as(
        "SELECT c.circle_id, c.name, c.created_at,
                (SELECT count(*) FROM circle_members m
                  WHERE m.tenant_id = c.tenant_id AND m.circle_uid = c.circle_uid) AS members,
                ARRAY(SELECT a.agent_id
                        FROM circle_members m
                        JOIN agents a ON a.tenant_id = m.tenant_id AND a.agent_uid = m.agent_uid
                       WHERE m.tenant_id = c.tenant_id AND m.circle_uid = c.circle_uid AND m.role = 'owner'
                       ORDER BY a.agent_id) AS owners
           FROM circles c
          WHERE c.tenant_id = $1
          ORDER BY c.circle_id",
    );
    Ok(circles.bind(tenant).fetch_all(&mut **conn).await?)
}

pub async fn update(conn: &mut TenantConn, tenant: TenantId, circle: CircleUid, profile: &CircleProfile) -> Result<()> {
    sqlx::query(
        "UPDATE circles
            SET name = $3, purpose = $4, metadata = $5, version = version + 1, updated_at = now()
          WHERE tenant_id = $1 AND circle_uid = $2",
    )
    .bind(tenant)
    .bind(circle)
    .bind(&profile.name)
    .bind(&profile.purpose)
    .bind(sqlx::types::Json(&profile.metadata))
    .execute(&mut **conn)
    .await?;
    Ok(())
}

/// Deletes the circle's own row and its scopes. What refers to it must be gone.
pub async fn delete(conn: &mut TenantConn, tenant: TenantId, circle: &Circle) -> Result<()> {
    sqlx::query("DELETE FROM circles WHERE tenant_id = $1 AND circle_uid = $2")
        .bind(tenant)
        .bind(circle.circle_uid)
        .execute(&mut **conn)
        .await?;
    let scopes = [circle.content_scope, circle.board_scope];
    for statement in [
        "DELETE FROM scope_removals WHERE tenant_id = $1 AND scope_id = ANY($2)",
        "DELETE FROM circle_recalls WHERE tenant_id = $1 AND scope_id = ANY($2)",
        "DELETE FROM scope_epochs WHERE tenant_id = $1 AND scope_id = ANY($2)",
    ] {
        sqlx::query(statement).bind(tenant).bind(&scopes[..]).execute(&mut **conn).await?;
    }
    Ok(())
}
