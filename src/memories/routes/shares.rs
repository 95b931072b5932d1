//! Routes of sharing: a memory with a circle, and what a circle sees.

use actix_web::http::StatusCode;
use actix_web::http::header::ETAG;
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse, delete, get, put};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::auth::{Caller, CircleReader, Permission, Role, Writer};
use crate::db::Idempotency;
use crate::error::Result;
use crate::http::{IfMatch, Page, PageRequest, Params, Problems, cursor_binding};
use crate::ids::{ExternalId, MemoryId};
use crate::memories::fields::Kind;
use crate::memories::routes::{memory_id, reach};
use crate::memories::service::{self, Sharing};
use crate::memories::shares::{self, Share, ShareRange, SharedRange};
use crate::memories::{Memory, MemoryFilter};

pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(share_memory).service(unshare_memory).service(list_circle_memories).service(list_circle_shares);
}

/// Share a memory
///
/// Makes it visible in a circle, to every member, from the next call on. Only the agent that remembers it shares it, as
/// editor or owner of the circle. What it says is one and the same everywhere: an edit reaches every circle, and when it
/// is forgotten it leaves them all. Sharing is no edit: the version stays.
#[utoipa::path(tag = "circles", security(("credential" = ["memories:write"])),
    params(("id" = MemoryId, Path), ("circle_id" = ExternalId, Path), Idempotency),
    responses((status = CREATED, body = Memory, headers(("ETag" = String))), (status = OK, body = Memory, headers(("ETag" = String))), Problems))]
#[put("/memories/{id}/circles/{circle_id}")]
async fn share_memory(
    caller: Writer,
    app: Data<App>,
    path: Path<(String, String)>,
    once: Idempotency,
) -> Result<HttpResponse> {
    let sharing = sharing(&caller, &path, once)?;
    let (memory, added) = app.db.run(service::share(app.db.clone(), sharing)).await?;
    let status = if added { StatusCode::CREATED } else { StatusCode::OK };
    Ok(HttpResponse::build(status).insert_header((ETAG, memory.etag().to_string())).json(memory))
}

/// Unshare a memory
///
/// Takes it out of a circle. For the agent that shared it while it is editor there, for any owner of the circle, and for
/// credentials that are bound to no agent, which need `circles:manage` where the agent could not do it itself. The audit
/// keeps that it was shared.
#[utoipa::path(tag = "circles", security(("credential" = ["memories:write"])),
    params(("id" = MemoryId, Path), ("circle_id" = ExternalId, Path), ("If-Match" = Option<String>, Header), Idempotency),
    responses((status = NO_CONTENT), Problems))]
#[delete("/memories/{id}/circles/{circle_id}")]
async fn unshare_memory(
    caller: Writer,
    app: Data<App>,
    path: Path<(String, String)>,
    condition: IfMatch,
    once: Idempotency,
) -> Result<HttpResponse> {
    let (sharing, may_manage) =
        (sharing(&caller, &path, once)?, caller.permissions.contains(Permission::CirclesManage));
    app.db.run(service::unshare(app.db.clone(), sharing, condition, may_manage)).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn sharing(caller: &Caller, path: &(String, String), once: Idempotency) -> Result<Sharing> {
    let circle = ExternalId::parse(&path.1).map_err(|invalid| invalid.under("circle_id"))?;
    Ok(Sharing { intent: caller.intent(once), reach: reach(caller), id: memory_id(&path.0)?, circle })
}

/// List the memories of a circle
///
/// What is shared there now, newest first. Filters may be repeated (`kinds=fact&kinds=event`); all that are given must
/// hold.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:read"])),
    params(("circle_id" = ExternalId, Path), ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Items a page; 50 when left out"),
        ("cursor" = Option<String>, Query), ("agent_ids" = Option<Vec<ExternalId>>, Query), ("kinds" = Option<Vec<Kind>>, Query),
        ("tags_any" = Option<Vec<String>>, Query), ("tags_all" = Option<Vec<String>>, Query), ("speakers" = Option<Vec<String>>, Query),
        ("sources" = Option<Vec<String>>, Query), ("key" = Option<String>, Query), ("min_importance" = Option<f64>, Query, minimum = 0, maximum = 1),
        ("created_after" = Option<String>, Query), ("created_before" = Option<String>, Query), ("occurred_after" = Option<String>, Query),
        ("occurred_before" = Option<String>, Query)),
    responses((status = OK, body = Page<Memory>), Problems))]
#[get("/circles/{circle_id}/memories")]
async fn list_circle_memories(
    caller: CircleReader,
    app: Data<App>,
    request: HttpRequest,
) -> Result<Json<Page<Memory>>> {
    let mut params = Params::of(&request)?;
    let page = page(&caller, &app, &request, &mut params)?;
    let filter = MemoryFilter::read_circle_params(&mut params);
    params.finish()?;
    let before = page.after.as_deref().map(memory_id).transpose()?;
    let content = caller.circle(Role::Reader)?.content;
    let range = SharedRange { content, named: reach(&caller).circles, filter, before };
    let (db, tenant, limit) = (app.db.clone(), caller.tenant, page.limit.probe());
    let memories =
        app.db.run(async move { shares::list_memories(&mut db.read(tenant).await?, tenant, &range, limit).await });
    Ok(Json(page.page(&app.cursor_key, memories.await?, |memory| memory.id.to_string())?))
}

/// List what was ever shared in a circle
///
/// Who shared which memory, when, and until when; newest first. It outlasts the memories, and says nothing of what they
/// said.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:read"])),
    params(("circle_id" = ExternalId, Path), ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Items a page; 50 when left out"),
        ("cursor" = Option<String>, Query), ("memory_id" = Option<MemoryId>, Query)),
    responses((status = OK, body = Page<Share>), Problems))]
#[get("/circles/{circle_id}/shares")]
async fn list_circle_shares(caller: CircleReader, app: Data<App>, request: HttpRequest) -> Result<Json<Page<Share>>> {
    let mut params = Params::of(&request)?;
    let page = page(&caller, &app, &request, &mut params)?;
    let memory = params.one("memory_id", MemoryId::parse);
    params.finish()?;
    // Cursors are signed, so that only an id comes back.
    let before = page.after.as_deref().and_then(|id| id.parse().ok());
    let range = ShareRange { circle: caller.circle(Role::Reader)?.uid, memory, before };
    let (db, tenant, limit) = (app.db.clone(), caller.tenant, page.limit.probe());
    let shares = app.db.run(async move { shares::list(&mut db.read(tenant).await?, tenant, range, limit).await });
    Ok(Json(page.page(&app.cursor_key, shares.await?, |share| share.share_id.to_string())?))
}

fn page(caller: &Caller, app: &App, request: &HttpRequest, params: &mut Params) -> Result<PageRequest> {
    let binding = cursor_binding(&caller.tenant.to_string(), &caller.principal, request.path(), request.query_string());
    PageRequest::read(params, &app.cursor_key, binding, caller.checked_at)
}
