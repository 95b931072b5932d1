//! The figures of a circle, all of one snapshot.

use time::OffsetDateTime;

use crate::auth::PathCircle;
use crate::circles::model::{CircleMetrics, Conflicts, SharedMetrics, TaskMetrics, Window};
use crate::circles::store::{metrics, tasks};
use crate::db::Db;
use crate::error::Result;
use crate::ids::TenantId;

/// Up to `now`, as far back as the window goes.
pub async fn measure(
    db: Db,
    tenant: TenantId,
    circle: PathCircle,
    window: Window,
    now: OffsetDateTime,
) -> Result<CircleMetrics> {
    let span @ (from, to) = (window.before(now), now);
    let mut conn = db.read(tenant).await?;
    let shared = metrics::shared(&mut conn, tenant, circle.uid, span).await?;
    let recalls = metrics::recalls(&mut conn, tenant, circle.content, span).await?;
    let by_state = tasks::counts(&mut conn, tenant, circle.uid).await?;
    let (done, time_to_done_ms) = metrics::done(&mut conn, tenant, circle.uid, span).await?;
    let claims_lost = metrics::claims_lost(&mut conn, tenant, circle.uid, span).await?;
    Ok(CircleMetrics {
        circle_id: circle.id,
        from,
        to,
        memories: SharedMetrics::of(shared),
        recalls,
        tasks: TaskMetrics { by_state, done, time_to_done_ms },
        conflicts: Conflicts { claims_lost },
    })
}
