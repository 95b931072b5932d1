//! SQL for the figures of a circle between two moments, the first excluded.

use sqlx::FromRow;
use time::OffsetDateTime;

use crate::circles::model::{SharedByKind, TimeToDone};
use crate::circles::store::log::CLAIM_LOST;
use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{CircleUid, ScopeId, TenantId};

/// From when to when.
pub type Span = (OffsetDateTime, OffsetDateTime);

/// In the order of agents.
pub async fn shared(
    conn: &mut TenantConn,
    tenant: TenantId,
    circle: CircleUid,
    (from, to): Span,
) -> Result<Vec<SharedByKind>> {
    let shared = sqlx::query_as(
        "SELECT agent_id, kind, count(*) AS shared
           FROM shares
          WHERE tenant_id = $1 AND circle_uid = $2 AND shared_at > $3 AND shared_at <= $4
          GROUP BY agent_id, kind
          ORDER BY agent_id, kind",
    );
    Ok(shared.bind(tenant).bind(circle).bind(from).bind(to).fetch_all(&mut **conn).await?)
}

/// Of every minute that the span touches.
pub async fn recalls(conn: &mut TenantConn, tenant: TenantId, content: ScopeId, (from, to): Span) -> Result<i64> {
    let recalls = sqlx::query_scalar(
        "SELECT coalesce(sum(recalls), 0)::bigint
           FROM circle_recalls
          WHERE tenant_id = $1 AND scope_id = $2 AND minute >= date_trunc('minute', $3) AND minute <= $4",
    );
    Ok(recalls.bind(tenant).bind(content).bind(from).bind(to).fetch_one(&mut **conn).await?)
}

#[derive(FromRow)]
struct Done {
    done: i64,
    p50: Option<i64>,
    p95: Option<i64>,
    mean: Option<i64>,
}

/// How many tasks were approved, and how long those took from their creation.
pub async fn done(
    conn: &mut TenantConn,
    tenant: TenantId,
    circle: CircleUid,
    (from, to): Span,
) -> Result<(i64, Option<TimeToDone>)> {
    let done: Done = sqlx::query_as(
        "SELECT count(*) AS done,
                round(percentile_cont(0.5) WITHIN GROUP (ORDER BY took.ms))::bigint AS p50,
                round(percentile_cont(0.95) WITHIN GROUP (ORDER BY took.ms))::bigint AS p95,
                round(avg(took.ms))::bigint AS mean
           FROM (SELECT 1000 * extract(epoch FROM m.moved_at - t.created_at)::float8 AS ms
                   FROM tasks t
                   JOIN task_moves m ON m.tenant_id = $1 AND m.task_id = t.task_id AND m.to_state = 'approved'
                  WHERE t.tenant_id = $1 AND t.circle_uid = $2 AND t.state = 'approved'
                    AND m.moved_at > $3 AND m.moved_at <= $4) took",
    )
    .bind(tenant)
    .bind(circle)
    .bind(from)
    .bind(to)
    .fetch_one(&mut **conn)
    .await?;
    let took = done.p50.zip(done.p95).zip(done.mean);
    Ok((done.done, took.map(|((p50, p95), mean)| TimeToDone { p50, p95, mean })))
}

pub async fn claims_lost(conn: &mut TenantConn, tenant: TenantId, circle: CircleUid, (from, to): Span) -> Result<i64> {
    let lost = sqlx::query_scalar(
        "SELECT count(*)
           FROM circle_events
          WHERE tenant_id = $1 AND circle_uid = $2 AND event = $5 AND happened_at > $3 AND happened_at <= $4",
    );
    Ok(lost.bind(tenant).bind(circle).bind(from).bind(to).bind(CLAIM_LOST).fetch_one(&mut **conn).await?)
}
