//! Routes of circles: themselves here, what belongs to them in files of its own.

mod context;
mod members;
mod metrics;
mod place;
mod steps;
mod tasks;

use actix_web::http::StatusCode;
use actix_web::http::header::ETAG;
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, put};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::auth::{CircleManager, CircleReader, Role};
use crate::circles::model::{Circle, CircleDraft, CirclePatch, CircleReceipt};
use crate::circles::service::{self, Actor};
use crate::circles::store::circles;
use crate::db::Idempotency;
use crate::error::{Error, Result};
use crate::http::{Body, IfMatch, Page, PageRequest, Params, Problems, cursor_binding};
use crate::ids::ExternalId;

pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_circles).service(put_circle).service(get_circle).service(patch_circle).service(delete_circle);
    members::routes(cfg);
    cfg.service(tasks::create_task)
        .service(tasks::list_tasks)
        .service(tasks::get_task)
        .service(tasks::patch_task)
        .service(tasks::delete_task)
        .service(tasks::get_task_history)
        .service(steps::claim_task)
        .service(steps::submit_task)
        .service(steps::approve_task)
        .service(steps::reject_task)
        .service(steps::cancel_task);
    context::routes(cfg);
    metrics::routes(cfg);
}

/// List circles
///
/// In the order of their ids. An acting agent sees those it is a member of, with its role.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:read"])),
    params(("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Items a page; 50 when left out"), ("cursor" = Option<String>, Query)),
    responses((status = OK, body = Page<Circle>), Problems))]
#[get("/circles")]
async fn list_circles(caller: CircleReader, app: Data<App>, request: HttpRequest) -> Result<Json<Page<Circle>>> {
    let mut params = Params::of(&request)?;
    let binding = cursor_binding(&caller.tenant.to_string(), &caller.principal, request.path(), request.query_string());
    let page = PageRequest::read(&mut params, &app.cursor_key, binding, caller.checked_at)?;
    params.finish()?;
    let (db, tenant, acting) = (app.db.clone(), caller.tenant, caller.acting_uid());
    let (after, limit) = (page.after.clone(), page.limit.probe());
    let circles = app
        .db
        .run(async move { circles::list(&mut db.read(tenant).await?, tenant, acting, after.as_deref(), limit).await });
    Ok(Json(page.page(&app.cursor_key, circles.await?, |circle| circle.id.to_string())?))
}

/// Create or replace a circle
///
/// An acting agent owns what it creates. A trusted back end names an `owner`, or leaves the circle to those who may manage
/// circles. Only an owner replaces a circle; its members, tasks and what is shared stay.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:manage"])), params(("circle_id" = ExternalId, Path), Idempotency), request_body = CircleDraft,
    responses((status = OK, body = Circle, headers(("ETag" = String))), (status = CREATED, body = Circle, headers(("ETag" = String))), Problems))]
#[put("/circles/{circle_id}")]
async fn put_circle(
    caller: CircleManager,
    app: Data<App>,
    id: Path<String>,
    once: Idempotency,
    body: Body<CircleDraft>,
) -> Result<HttpResponse> {
    let put = service::put(app.db.clone(), Actor::of(&caller, once), circle_id(&id)?, body.0);
    let (circle, created) = app.db.run(put).await?;
    Ok(answer(if created { StatusCode::CREATED } else { StatusCode::OK }, &circle))
}

/// Get a circle
#[utoipa::path(tag = "circles", security(("credential" = ["circles:read"])), params(("circle_id" = ExternalId, Path)), responses((status = OK, body = Circle, headers(("ETag" = String))), Problems))]
#[get("/circles/{circle_id}")]
async fn get_circle(caller: CircleReader, app: Data<App>) -> Result<HttpResponse> {
    let id = caller.circle(Role::Reader)?.id.clone();
    let (db, tenant, acting) = (app.db.clone(), caller.tenant, caller.acting_uid());
    let find = async move { circles::find(&mut db.read(tenant).await?, tenant, &id, acting).await };
    let circle = app.db.run(find).await?.ok_or_else(|| Error::not_found("circle"))?;
    Ok(answer(StatusCode::OK, &circle))
}

/// Change a circle
///
/// By an owner. A JSON merge patch: absent fields stay, null clears.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:manage"])), params(("circle_id" = ExternalId, Path), ("If-Match" = Option<String>, Header), Idempotency),
    request_body = CirclePatch, responses((status = OK, body = Circle, headers(("ETag" = String))), Problems))]
#[patch("/circles/{circle_id}")]
async fn patch_circle(
    caller: CircleManager,
    app: Data<App>,
    condition: IfMatch,
    once: Idempotency,
    body: Body<CirclePatch>,
) -> Result<HttpResponse> {
    let id = caller.circle(Role::Owner)?.id.clone();
    let patch = service::patch(app.db.clone(), Actor::of(&caller, once), id, body.0, condition);
    Ok(answer(StatusCode::OK, &app.db.run(patch).await?))
}

/// Delete a circle
///
/// By an owner. Its members, its tasks and their history go; what was shared in it stays with the agents that remember it.
/// The receipt counts them.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:manage"])), params(("circle_id" = ExternalId, Path), ("If-Match" = Option<String>, Header), Idempotency),
    responses((status = OK, body = CircleReceipt), Problems))]
#[delete("/circles/{circle_id}")]
async fn delete_circle(
    caller: CircleManager,
    app: Data<App>,
    id: Path<String>,
    condition: IfMatch,
    once: Idempotency,
) -> Result<Json<CircleReceipt>> {
    let id = circle_id(&id)?;
    // A replay comes when the circle is gone, and with it every role there.
    if caller.path_circle.is_some() || !once.is_keyed() {
        caller.circle(Role::Owner)?;
    }
    let delete = service::delete(app.db.clone(), Actor::of(&caller, once), id, condition);
    Ok(Json(app.db.run(delete).await?))
}

fn circle_id(raw: &str) -> Result<ExternalId> {
    Ok(ExternalId::parse(raw).map_err(|invalid| invalid.under("circle_id"))?)
}

fn answer(status: StatusCode, circle: &Circle) -> HttpResponse {
    HttpResponse::build(status).insert_header((ETAG, circle.etag().to_string())).json(circle)
}
