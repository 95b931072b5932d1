//! Routes of the runs of a warm-up.

use actix_web::http::header::ETAG;
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse, get, post};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::db::Idempotency;
use crate::error::Result;
use crate::http::{Page, Problems};
use crate::ids::{JobId, RunId};
use crate::warmups::model::WarmupRun;
use crate::warmups::routes::manager::Manager;
use crate::warmups::routes::{page, warmup_id};
use crate::warmups::service;

pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(start_warmup_run).service(list_warmup_runs).service(get_warmup_run).service(cancel_warmup_run);
}

/// Run a warm-up now
///
/// Whether it is enabled or not. The answer comes at once, the run begins within a second or two.
#[utoipa::path(tag = "warm-ups", security(("credential" = ["jobs:manage"])), params(("warmup_id" = JobId, Path), Idempotency),
    responses((status = ACCEPTED, body = WarmupRun), Problems))]
#[post("/warmups/{warmup_id}/run")]
async fn start_warmup_run(
    caller: Manager,
    app: Data<App>,
    path: Path<String>,
    once: Idempotency,
) -> Result<HttpResponse> {
    let run = app.db.run(service::start(app.db.clone(), caller.intent(once), warmup_id(&path)?)).await?;
    Ok(HttpResponse::Accepted().json(run))
}

/// List the runs of a warm-up
///
/// The last first. They are kept for 30 days.
#[utoipa::path(tag = "warm-ups", security(("credential" = ["jobs:manage"])),
    params(("warmup_id" = JobId, Path), ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Items a page; 50 when left out"),
        ("cursor" = Option<String>, Query)),
    responses((status = OK, body = Page<WarmupRun>), Problems))]
#[get("/warmups/{warmup_id}/runs")]
async fn list_warmup_runs(
    caller: Manager,
    app: Data<App>,
    path: Path<String>,
    request: HttpRequest,
) -> Result<Json<Page<WarmupRun>>> {
    let (id, page) = (warmup_id(&path)?, page(&caller, &app, &request)?);
    // Cursors are signed, so that only the due time of a run comes back.
    let before = page.after.as_deref().and_then(|due| OffsetDateTime::parse(due, &Rfc3339).ok());
    let runs = app.db.run(service::list_runs(app.db.clone(), caller.tenant, id, before, page.limit.probe())).await?;
    let at = |run: &WarmupRun| run.due_at.format(&Rfc3339).unwrap_or_default();
    Ok(Json(page.page(&app.cursor_key, runs, at)?))
}

/// Get a run of a warm-up
#[utoipa::path(tag = "warm-ups", security(("credential" = ["jobs:manage"])), params(("warmup_id" = JobId, Path), ("run_id" = RunId, Path)),
    responses((status = OK, body = WarmupRun, headers(("ETag" = String))), Problems))]
#[get("/warmups/{warmup_id}/runs/{run_id}")]
async fn get_warmup_run(caller: Manager, app: Data<App>, path: Path<(String, String)>) -> Result<HttpResponse> {
    let (id, run) = ids(&path)?;
    let (db, tenant) = (app.db.clone(), caller.tenant);
    let found = app.db.run(async move { service::find_run(&mut db.read(tenant).await?, tenant, id, run).await });
    let run = found.await?;
    Ok(HttpResponse::Ok().insert_header((ETAG, run.etag()?.to_string())).json(run))
}

/// Cancel a run of a warm-up
///
/// One that waits ends at once, one that is worked on within seconds, with what it has done so far in its report.
#[utoipa::path(tag = "warm-ups", security(("credential" = ["jobs:manage"])),
    params(("warmup_id" = JobId, Path), ("run_id" = RunId, Path), Idempotency),
    responses((status = OK, body = WarmupRun), Problems))]
#[post("/warmups/{warmup_id}/runs/{run_id}/cancel")]
async fn cancel_warmup_run(
    caller: Manager,
    app: Data<App>,
    path: Path<(String, String)>,
    once: Idempotency,
) -> Result<Json<WarmupRun>> {
    let (id, run) = ids(&path)?;
    Ok(Json(app.db.run(service::cancel(app.db.clone(), caller.intent(once), id, run)).await?))
}

fn ids(path: &(String, String)) -> Result<(JobId, RunId)> {
    Ok((warmup_id(&path.0)?, RunId::parse(&path.1).map_err(|invalid| invalid.under("run_id"))?))
}
