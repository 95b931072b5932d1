//! The open routes: is it alive, is it ready, what does it measure, what does its API look like.

use std::time::Duration;

use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpResponse, get};
use serde::Serialize;
use utoipa::openapi::OpenApi;
use utoipa::{OpenApi as Describe, ToSchema};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::app::App;
use crate::db::pending_migrations;
use crate::error::{Error, Result};

const DATABASE_DEADLINE: Duration = Duration::from_millis(500);

#[derive(Describe)]
#[openapi(paths(livez, readyz, metrics, openapi_json), components(schemas(Readiness, Check)))]
struct Open;

/// The open routes as the specification shows them: no credential is asked for.
pub fn description() -> OpenApi {
    let mut open = Open::openapi();
    for item in open.paths.paths.values_mut() {
        if let Some(get) = &mut item.get {
            get.security = Some(Vec::new());
        }
    }
    open
}

pub fn routes(cfg: &mut ServiceConfig, specification: &OpenApi, with_metrics: bool) {
    cfg.service(livez).service(readyz).service(openapi_json);
    if with_metrics {
        cfg.service(metrics);
    }
    cfg.service(web::redirect("/docs", "/docs/"));
    cfg.service(
        SwaggerUi::new("/docs/{_:.*}")
            .url("/docs/openapi.json", specification.clone())
            // Without this the page asks a validator on the internet.
            .config(Config::default().validator_url("none")),
    );
}

/// Is the process alive
///
/// Touches nothing.
#[utoipa::path(tag = "open", responses((status = OK, body = String, content_type = "text/plain")))]
#[get("/livez")]
async fn livez() -> &'static str {
    "ok\n"
}

/// Whether requests can be served, and what each part says.
#[derive(Serialize, ToSchema)]
struct Readiness {
    ready: bool,
    server: Check,
    database: Check,
    embeddings: Check,
    /// Reported, not needed: without it memories can still be read, and recalled by words.
    provider: Check,
    /// Reported, not needed: without it the caches live in each process alone.
    redis: Check,
}

#[derive(Serialize, ToSchema)]
struct Check {
    ok: bool,
    detail: String,
}

/// Is it ready to serve
///
/// Needs Postgres, its schema and the embedding model; a provider of embeddings that is called is only reported, and so is Redis. A server
/// that was told to stop is not ready from that moment.
#[utoipa::path(tag = "open",
    responses((status = OK, body = Readiness), (status = SERVICE_UNAVAILABLE, body = Readiness)))]
#[get("/readyz")]
async fn readyz(app: Data<App>) -> HttpResponse {
    let (server, database, embeddings) = (server(&app), database(&app).await, embeddings(&app));
    let ready = server.ok && database.ok && embeddings.ok;
    let readiness = Readiness { ready, server, database, embeddings, provider: provider(&app), redis: redis(&app) };
    if ready { HttpResponse::Ok().json(readiness) } else { HttpResponse::ServiceUnavailable().json(readiness) }
}

fn server(app: &App) -> Check {
    let ok = !app.is_stopping();
    Check { ok, detail: if ok { "serving" } else { "stopping" }.into() }
}

async fn database(app: &App) -> Check {
    let pool = app.db.gate().clone();
    let work = app.db.run(async move {
        let mut connection = pool.acquire().await?;
        Ok(pending_migrations(&mut connection).await?)
    });
    match tokio::time::timeout(DATABASE_DEADLINE, work).await {
        Ok(Ok(0)) => Check { ok: true, detail: "reachable, schema up to date".into() },
        Ok(Ok(pending)) => Check { ok: false, detail: format!("{pending} migration(s) missing: run `cairn migrate`") },
        Ok(Err(error)) => Check { ok: false, detail: error.to_string() },
        Err(_) => Check { ok: false, detail: format!("no answer within {DATABASE_DEADLINE:?}") },
    }
}

fn embeddings(app: &App) -> Check {
    let pin = app.embedder.pin();
    let note = if app.embedder.is_semantic() { "" } else { " (for tests: knows words, not meaning)" };
    Check { ok: true, detail: format!("{pin}{note}") }
}

fn provider(app: &App) -> Check {
    let state = app.embedder.provider_state();
    Check { ok: state.ok, detail: state.detail }
}

fn redis(app: &App) -> Check {
    match app.cache.redis().map(|redis| redis.state()) {
        Some(state) => Check { ok: state.ok, detail: state.detail },
        None => Check { ok: true, detail: "not used".into() },
    }
}

/// Metrics for Prometheus
#[utoipa::path(tag = "open", responses((status = OK, body = String, content_type = "text/plain")))]
#[get("/metrics")]
pub async fn metrics(app: Data<App>) -> Result<HttpResponse> {
    for pool in app.db.pools_in_use() {
        app.metrics.pool(pool.name, pool.idle, pool.open, pool.most);
    }
    let text = app.metrics.render().map_err(Error::Internal)?;
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
}

/// This specification
#[utoipa::path(tag = "open", responses((status = OK, body = Object)))]
#[get("/openapi.json")]
async fn openapi_json(specification: Data<OpenApi>) -> HttpResponse {
    HttpResponse::Ok().json(specification)
}
