//! SQL for figures and events that nobody can ask for any more.

use std::time::Duration;

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::TenantId;

/// A day longer than figures can be asked for.
pub const FIGURES_KEPT: Duration = Duration::from_secs(91 * 24 * 60 * 60);

/// Deletes at most `limit` counts of recalls and as many events of a tenant that are older; returns how many.
pub async fn purge_figures(conn: &mut TenantConn, tenant: TenantId, limit: i64) -> Result<u64> {
    let recalls = "DELETE FROM circle_recalls r
              USING (SELECT scope_id, minute FROM circle_recalls
                      WHERE tenant_id = $1 AND minute < now() - make_interval(secs => $2)
                      ORDER BY minute
                      LIMIT $3) old
              WHERE r.tenant_id = $1 AND r.scope_id = old.scope_id AND r.minute = old.minute";
    let events = "DELETE FROM circle_events e
              USING (SELECT circle_uid, event_id FROM circle_events
                      WHERE tenant_id = $1 AND happened_at < now() - make_interval(secs => $2)
                      ORDER BY happened_at
                      LIMIT $3) old
              WHERE e.tenant_id = $1 AND e.circle_uid = old.circle_uid AND e.event_id = old.event_id";
    let mut gone = 0;
    for sql in [recalls, events] {
        let done = sqlx::query(sql).bind(tenant).bind(FIGURES_KEPT.as_secs_f64()).bind(limit);
        gone += done.execute(&mut **conn).await?.rows_affected();
    }
    Ok(gone)
}
