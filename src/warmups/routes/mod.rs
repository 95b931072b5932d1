//! Routes of warm-ups.

mod manager;
mod runs;

use actix_web::guard::GuardContext;
use actix_web::http::StatusCode;
use actix_web::http::header::ETAG;
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::auth::{Caller, JobManager};
use crate::db::Idempotency;
use crate::error::Result;
use crate::http::{Body, IfMatch, Page, PageRequest, Params, Problems, cursor_binding};
use crate::ids::JobId;
use crate::warmups::model::{Preview, PreviewRequest, Warmup, WarmupDraft, WarmupPatch};
use crate::warmups::routes::manager::Manager;
use crate::warmups::service;

const PREVIEWED: usize = 5;

pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(preview_warmup).service(create_warmup).service(list_warmups);
    cfg.service(get_warmup).service(patch_warmup).service(delete_warmup);
    runs::routes(cfg);
}

/// Preview a schedule
///
/// The next five times at which it is due. A time of day that a change of the clocks leaves out is made up for at the
/// next moment that exists; one that comes twice counts once. Nothing is kept.
#[utoipa::path(tag = "warm-ups", security(("credential" = ["jobs:manage"])), request_body = PreviewRequest,
    responses((status = OK, body = Preview), Problems))]
#[post("/warmups/preview")]
async fn preview_warmup(caller: JobManager, body: Body<PreviewRequest>) -> Result<Json<Preview>> {
    Ok(Json(Preview { due: body.0.schedule()?.upcoming(caller.checked_at, PREVIEWED) }))
}

/// Create a warm-up
///
/// It recalls and reads contexts beforehand, on a schedule, so that whoever asks next is answered from the cache. At most
/// 100 a tenant.
#[utoipa::path(tag = "warm-ups", security(("credential" = ["jobs:manage"])), params(Idempotency), request_body = WarmupDraft,
    responses((status = CREATED, body = Warmup, headers(("ETag" = String))), Problems))]
#[post("/warmups")]
async fn create_warmup(
    caller: Manager,
    app: Data<App>,
    once: Idempotency,
    body: Body<WarmupDraft>,
) -> Result<HttpResponse> {
    let warmup = app.db.run(service::create(app.db.clone(), caller.intent(once), body.0)).await?;
    Ok(answer(StatusCode::CREATED, &warmup))
}

/// List warm-ups
///
/// The oldest first.
#[utoipa::path(tag = "warm-ups", security(("credential" = ["jobs:manage"])),
    params(("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Items a page; 50 when left out"), ("cursor" = Option<String>, Query)),
    responses((status = OK, body = Page<Warmup>), Problems))]
#[get("/warmups")]
async fn list_warmups(caller: Manager, app: Data<App>, request: HttpRequest) -> Result<Json<Page<Warmup>>> {
    let page = page(&caller, &app, &request)?;
    let after = page.after.as_deref().and_then(|id| JobId::parse(id).ok());
    let warmups = app.db.run(service::list(app.db.clone(), caller.tenant, after, page.limit.probe())).await?;
    Ok(Json(page.page(&app.cursor_key, warmups, |warmup| warmup.id.to_string())?))
}

/// Get a warm-up
#[utoipa::path(tag = "warm-ups", security(("credential" = ["jobs:manage"])), params(("warmup_id" = JobId, Path)),
    responses((status = OK, body = Warmup, headers(("ETag" = String))), Problems))]
#[get("/warmups/{warmup_id}", guard = "names_a_warmup")]
async fn get_warmup(caller: Manager, app: Data<App>, path: Path<String>) -> Result<HttpResponse> {
    let (db, tenant, id) = (app.db.clone(), caller.tenant, warmup_id(&path)?);
    let warmup = app.db.run(async move { service::find(&mut db.read(tenant).await?, tenant, id).await }).await?;
    Ok(answer(StatusCode::OK, &warmup))
}

/// Change a warm-up
///
/// A JSON merge patch: absent fields stay, null sets back to the default. All instances know within two seconds.
#[utoipa::path(tag = "warm-ups", security(("credential" = ["jobs:manage"])),
    params(("warmup_id" = JobId, Path), ("If-Match" = Option<String>, Header), Idempotency), request_body = WarmupPatch,
    responses((status = OK, body = Warmup, headers(("ETag" = String))), Problems))]
#[patch("/warmups/{warmup_id}", guard = "names_a_warmup")]
async fn patch_warmup(
    caller: Manager,
    app: Data<App>,
    path: Path<String>,
    condition: IfMatch,
    once: Idempotency,
    body: Body<WarmupPatch>,
) -> Result<HttpResponse> {
    let patch = service::patch(app.db.clone(), caller.intent(once), warmup_id(&path)?, body.0, condition);
    Ok(answer(StatusCode::OK, &app.db.run(patch).await?))
}

/// Delete a warm-up
///
/// With all its runs; one that is under way ends.
#[utoipa::path(tag = "warm-ups", security(("credential" = ["jobs:manage"])),
    params(("warmup_id" = JobId, Path), ("If-Match" = Option<String>, Header), Idempotency),
    responses((status = NO_CONTENT), Problems))]
#[delete("/warmups/{warmup_id}", guard = "names_a_warmup")]
async fn delete_warmup(
    caller: Manager,
    app: Data<App>,
    path: Path<String>,
    condition: IfMatch,
    once: Idempotency,
) -> Result<HttpResponse> {
    app.db.run(service::delete(app.db.clone(), caller.intent(once), warmup_id(&path)?, condition)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `preview` stands where ids stand, and answers POST alone.
fn names_a_warmup(context: &GuardContext<'_>) -> bool {
    !context.head().uri.path().ends_with("/warmups/preview")
}

fn warmup_id(raw: &str) -> Result<JobId> {
    Ok(JobId::parse(raw).map_err(|invalid| invalid.under("warmup_id"))?)
}

fn page(caller: &Caller, app: &App, request: &HttpRequest) -> Result<PageRequest> {
    let mut params = Params::of(request)?;
    let binding = cursor_binding(&caller.tenant.to_string(), &caller.principal, request.path(), request.query_string());
    let page = PageRequest::read(&mut params, &app.cursor_key, binding, caller.checked_at)?;
    params.finish()?;
    Ok(page)
}

fn answer(status: StatusCode, warmup: &Warmup) -> HttpResponse {
    HttpResponse::build(status).insert_header((ETAG, warmup.etag().to_string())).json(warmup)
}
