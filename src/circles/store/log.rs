//! SQL for what happened in a circle: names of events and times, no content.

use uuid::Uuid;

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{CircleUid, TenantId};

/// An agent came too late to claim a task. Nothing changed, so it is no activity; it is counted.
pub const CLAIM_LOST: &str = "task.claim_lost";

/// Notes that this happened, as a rule the name of the event that is announced.
pub async fn insert(conn: &mut TenantConn, tenant: TenantId, circle: CircleUid, event: &str) -> Result<()> {
    sqlx::query("INSERT INTO circle_events (tenant_id, circle_uid, event_id, event) VALUES ($1, $2, $3, $4)")
        .bind(tenant)
        .bind(circle)
        .bind(Uuid::now_v7())
        .bind(event)
        .execute(&mut **conn)
        .await?;
    Ok(())
}

/// The same, once for each time that a circle is in the list.
pub async fn insert_many(conn: &mut TenantConn, tenant: TenantId, circles: &[CircleUid], event: &str) -> Result<()> {
    let ids: Vec<Uuid> = circles.iter().map(|_| Uuid::now_v7()).collect();
    sqlx::query(
        "INSERT INTO circle_events (tenant_id, circle_uid, event_id, event)
         SELECT $1, circle_uid, event_id, $4 FROM unnest($2::uuid[], $3::uuid[]) AS happened (circle_uid, event_id)",
    )
    .bind(tenant)
    .bind(circles)
    .bind(ids)
    .bind(event)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

/// What happened is forgotten with the circle.
pub async fn delete(conn: &mut TenantConn, tenant: TenantId, circle: CircleUid) -> Result<()> {
    sqlx::query("DELETE FROM circle_events WHERE tenant_id = $1 AND circle_uid = $2")
        .bind(tenant)
        .bind(circle)
        .execute(&mut **conn)
        .await?;
    Ok(())
}
