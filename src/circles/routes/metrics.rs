//! The route of a circle's figures.

use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, get};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::auth::{CircleReader, Role};
use crate::circles::model::{CircleMetrics, Window};
use crate::circles::service;
use crate::error::Result;
use crate::http::{Params, Problems};
use crate::ids::ExternalId;

pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(get_circle_metrics);
}

/// Measure a circle
///
/// What was shared by whom, how often the circle was recalled from, how its tasks go, and claims that came too late. Times
/// are in milliseconds. Computed anew each time.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:read"])),
    params(("circle_id" = ExternalId, Path), ("window" = Option<String>, Query, pattern = "^[0-9]+[mhd]$", example = "7d",
        description = "How far back: minutes, hours or days, 1 minute to 90 days; `24h` when left out")),
    responses((status = OK, body = CircleMetrics), Problems))]
#[get("/circles/{circle_id}/metrics")]
async fn get_circle_metrics(caller: CircleReader, app: Data<App>, request: HttpRequest) -> Result<Json<CircleMetrics>> {
    let circle = caller.circle(Role::Reader)?.clone();
    let mut params = Params::of(&request)?;
    let window = params.one("window", Window::parse).unwrap_or_default();
    params.finish()?;
    let measure = service::measure(app.db.clone(), caller.tenant, circle, window, caller.checked_at);
    Ok(Json(app.db.run(measure).await?))
}
