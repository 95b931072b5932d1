//! SQL for the context of a circle: what no other store reads already.

use sqlx::FromRow;

use crate::circles::model::{Activity, ContextCircle};
use crate::circles::store::log::CLAIM_LOST;
use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{CircleUid, MemoryId, ScopeId, TenantId};
use time::OffsetDateTime;

/// By incarnation: another circle of the same name is another circle.
pub async fn find_circle(conn: &mut TenantConn, tenant: TenantId, circle: CircleUid) -> Result<Option<ContextCircle>> {
    let circle_of = sqlx::query_as(
        "SELECT circle_id, name, purpose, metadata, created_at, updated_at
           FROM circles
          WHERE tenant_id = $1 AND circle_uid = $2",
    );
    Ok(circle_of.bind(tenant).bind(circle).fetch_optional(&mut **conn).await?)
}

/// How many memories are visible in a scope, what has expired left out. The primary key counts the rows without
/// reading them, and few expire.
pub async fn count_visible(conn: &mut TenantConn, tenant: TenantId, scope: ScopeId) -> Result<i64> {
    let count = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM placement_terms WHERE tenant_id = $1 AND scope_id = $2)
              - (SELECT count(*) FROM placement_terms
                  WHERE tenant_id = $1 AND scope_id = $2 AND expires_at <= statement_timestamp())",
    );
    Ok(count.bind(tenant).bind(scope).fetch_one(&mut **conn).await?)
}

/// The memories shared last that are visible now, the last one first.
pub async fn list_recent(
    conn: &mut TenantConn,
    tenant: TenantId,
    (circle, content): (CircleUid, ScopeId),
    limit: i64,
) -> Result<Vec<MemoryId>> {
    let recent = sqlx::query_scalar(
        "SELECT s.memory_id
           FROM shares s
           JOIN placement_terms p ON p.tenant_id = $1 AND p.scope_id = $3 AND p.memory_id = s.memory_id
          WHERE s.tenant_id = $1 AND s.circle_uid = $2 AND s.ended_at IS NULL
            AND (p.expires_at IS NULL OR p.expires_at > statement_timestamp())
          ORDER BY s.shared_at DESC, s.share_id DESC
          LIMIT $4",
    );
    Ok(recent.bind(tenant).bind(circle).bind(content).bind(limit).fetch_all(&mut **conn).await?)
}

#[derive(FromRow)]
struct Happened {
    last: Option<OffsetDateTime>,
    lately: i64,
}

/// What happened up to a moment: when the last of it, and how much within the day before.
pub async fn activity(
    conn: &mut TenantConn,
    tenant: TenantId,
    circle: CircleUid,
    as_of: OffsetDateTime,
) -> Result<Activity> {
    // Each part reads the end of an index.
    let happened: Vec<Happened> = sqlx::query_as(
        "SELECT (SELECT max(happened_at) FROM circle_events
                  WHERE tenant_id = $1 AND circle_uid = $2 AND event <> $4) AS last,
                (SELECT count(*) FROM circle_events
                  WHERE tenant_id = $1 AND circle_uid = $2 AND event <> $4
                    AND happened_at > $3 - interval '24 hours') AS lately
          UNION ALL
         SELECT (SELECT max(shared_at) FROM shares WHERE tenant_id = $1 AND circle_uid = $2),
                (SELECT count(*) FROM shares
                  WHERE tenant_id = $1 AND circle_uid = $2 AND shared_at > $3 - interval '24 hours')
          UNION ALL
         SELECT (SELECT max(ended_at) FROM shares WHERE tenant_id = $1 AND circle_uid = $2),
                (SELECT count(*) FROM shares
                  WHERE tenant_id = $1 AND circle_uid = $2 AND ended_at > $3 - interval '24 hours')",
    )
    .bind(tenant)
    .bind(circle)
    .bind(as_of)
    .bind(CLAIM_LOST)
    .fetch_all(&mut **conn)
    .await?;
    Ok(Activity {
        last_event_at: happened.iter().filter_map(|one| one.last).max(),
        events_last_24h: happened.iter().map(|one| one.lately).sum(),
    })
}
