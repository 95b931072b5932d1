//! Routes of the caches.

use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, get, post};
use strum::VariantArray;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::auth::{CacheManager, CacheReader, Caller};
use crate::cache::Kind;
use crate::db::Idempotency;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Params, Problems, length_of_time};
use crate::ids::{AgentUid, ExternalId};
use crate::insight::model::{CacheAnalytics, CacheStats, Flush, FlushReceipt, Frame, KindStats, RedisState};
use crate::insight::service::{self, Asked, Only};

pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(get_cache_stats).service(reset_cache_stats).service(flush_cache).service(get_cache_analytics);
}

/// What the caches do for you
///
/// Hits, misses and savings by kind and layer, counted by the instance that answers since its start or the last reset.
/// `/metrics` has the sums over all tenants, for all instances to be scraped.
#[utoipa::path(tag = "cache", security(("credential" = ["cache:read"])), responses((status = OK, body = CacheStats), Problems))]
#[get("/cache/stats")]
async fn get_cache_stats(caller: CacheReader, app: Data<App>) -> Json<CacheStats> {
    Json(stats(&app, &caller))
}

/// Count anew
///
/// Sets the counts of the tenant to zero, on every instance that hears of it. Nothing cached is touched.
#[utoipa::path(tag = "cache", security(("credential" = ["cache:manage"])), params(Idempotency), responses((status = OK, body = CacheStats), Problems))]
#[post("/cache/stats/reset")]
async fn reset_cache_stats(caller: CacheManager, app: Data<App>, once: Idempotency) -> Result<Json<CacheStats>> {
    if app.db.run(service::reset_stats(app.db.clone(), caller.intent(once))).await? {
        app.cache.stats().reset(caller.tenant);
    }
    Ok(Json(stats(&app, &caller)))
}

fn stats(app: &App, caller: &Caller) -> CacheStats {
    app.cache.tidy();
    let (stats, since) = app.cache.stats().of(caller.tenant);
    let price = app.config.embeddings.price_per_million_tokens();
    let redis = match app.cache.redis().map(|redis| redis.state()) {
        Some(state) => RedisState { ok: state.ok, breaker: state.breaker, detail: state.detail },
        None => RedisState { ok: true, breaker: "off", detail: "not used: the caches live in this process".into() },
    };
    CacheStats { since, redis, kinds: Kind::VARIANTS.iter().map(|kind| KindStats::of(&stats, *kind, price)).collect() }
}

/// Flush the caches
///
/// By kind, agent, circle, or all of the tenant's. When this answers, no instance takes what was cached before, whether
/// Redis is up or not. Changes nothing that is remembered.
#[utoipa::path(tag = "cache", security(("credential" = ["cache:manage"])), params(Idempotency), request_body = Flush,
    responses((status = OK, body = FlushReceipt), Problems))]
#[post("/cache/flush")]
async fn flush_cache(
    caller: CacheManager,
    app: Data<App>,
    once: Idempotency,
    body: Body<Flush>,
) -> Result<Json<FlushReceipt>> {
    check_reach(&caller, &body.0)?;
    let flush = service::flush(app.db.clone(), caller.intent(once), app.secret_key.clone(), body.0);
    Ok(Json(app.db.run(flush).await?))
}

/// Who acts as an agent flushes what is that agent's: its own recalls, and circles it is a member of.
fn check_reach(caller: &Caller, flush: &Flush) -> Result<()> {
    let Some(acting) = caller.acting() else {
        return Ok(());
    };
    if flush.is_whole() {
        let detail = "an agent may flush what is its own: name it as agent_id, or a circle of its as circle_id";
        return Err(Error::refused(Code::InsufficientScope, detail));
    }
    if flush.agent_id.as_ref().is_some_and(|agent| *agent != acting.id) {
        return Err(Error::refused(Code::AgentMismatch, "agent_id names another agent than the caller acts as"));
    }
    let is_member = |id: &ExternalId| caller.memberships.iter().any(|membership| membership.circle == *id);
    match &flush.circle_id {
        Some(circle) if !is_member(circle) => Err(Error::not_found("circle")),
        _ => Ok(()),
    }
}

/// Analyse the caches
///
/// What they did over time, added up over all instances and kept over restarts: series by kind and layer, what and who
/// asked most, and advice with its reasons. Counted within seconds. Who acts as an agent sees sums of all, and of
/// questions and agents its own.
#[utoipa::path(tag = "cache", security(("credential" = ["cache:read"])),
    params(("window" = Option<String>, Query, pattern = "^[0-9]+[mhd]$", example = "7d",
        description = "How far back: minutes, hours or days, 1 minute to 30 days; `24h` when left out"),
        ("step" = Option<String>, Query, pattern = "^[0-9]+[mhd]$", example = "1h",
        description = "Length of a step: 1 minute or more, at most 2000 in the window, whole hours in windows of more than 7 days; when left out `5m`, or `1h` in windows of more than 2 days")),
    responses((status = OK, body = CacheAnalytics), Problems))]
#[get("/cache/analytics")]
async fn get_cache_analytics(
    caller: CacheReader,
    app: Data<App>,
    request: HttpRequest,
) -> Result<Json<CacheAnalytics>> {
    let mut params = Params::of(&request)?;
    let (window, step) = (params.one("window", length_of_time), params.one("step", length_of_time));
    params.finish()?;
    let only = caller.acting().map(|acting| Only {
        agent: acting.uid.unwrap_or(AgentUid::NIL),
        circles: caller.memberships.iter().map(|membership| membership.circle.clone()).collect(),
    });
    let asked = Asked {
        tenant: caller.tenant,
        only,
        pinned_model: caller.embedding_pin.clone(),
        frame: Frame::of(window, step)?,
        now: caller.checked_at,
    };
    let db = app.db.clone();
    Ok(Json(db.run(service::analyse(app.into_inner(), asked)).await?))
}
