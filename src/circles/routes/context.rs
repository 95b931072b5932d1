//! The route of a circle's context.

use std::time::Instant;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, get};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::auth::CircleReader;
use crate::cache::CacheUse;
use crate::circles::model::Context;
use crate::circles::service;
use crate::error::Result;
use crate::http::{Params, Problems, cached};
use crate::ids::ExternalId;

pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(get_circle_context);
}

/// Get the context of a circle
///
/// What a member has to know before it begins: the circle, its members and their roles, tasks, what was shared last, how
/// lively it is. All of one moment, the same for whoever may read it. Kept for up to 10 minutes, and never longer than
/// until the next change: a change shows in every context asked for after it, on every instance.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:read"])),
    params(("circle_id" = ExternalId, Path), ("cache" = Option<CacheUse>, Query, description = "What to do with the cache; `use` when left out")),
    responses((status = OK, body = Context, headers(
        ("Cairn-Cache" = String, description = "`hit; layer=local|redis; age=<ms>`, `miss`, or `bypass`"),
        ("Server-Timing" = String, description = "Milliseconds by stage: gate, cache, embed, search, total"))), Problems))]
#[get("/circles/{circle_id}/context")]
async fn get_circle_context(caller: CircleReader, app: Data<App>, request: HttpRequest) -> Result<HttpResponse> {
    let mut params = Params::of(&request)?;
    let cache = params.one("cache", CacheUse::parse).unwrap_or_default();
    params.finish()?;
    let admitted = Instant::now();
    let answer = service::context(app.into_inner(), &caller, cache).await?;
    Ok(cached(answer, caller.gate_took, admitted))
}
