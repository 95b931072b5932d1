//! Routes of a circle's members.

use actix_web::http::StatusCode;
use actix_web::http::header::ETAG;
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse, delete, get, put};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::auth::{CircleManager, CircleReader, Role};
use crate::circles::model::{Member, MemberDraft, NewMember, NewMembers};
use crate::circles::service::{self, Actor, Removal};
use crate::circles::store::members;
use crate::db::Idempotency;
use crate::error::{Code, Error, Invalid, Result};
use crate::http::{Body, IfMatch, Page, PageRequest, Params, Problems, cursor_binding};
use crate::ids::ExternalId;

pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_members).service(put_members).service(put_member).service(remove_member);
}

/// List the members of a circle
///
/// In the order of their ids.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:read"])),
    params(("circle_id" = ExternalId, Path), ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Items a page; 50 when left out"),
        ("cursor" = Option<String>, Query)),
    responses((status = OK, body = Page<Member>), Problems))]
#[get("/circles/{circle_id}/members")]
async fn list_members(caller: CircleReader, app: Data<App>, request: HttpRequest) -> Result<Json<Page<Member>>> {
    let circle = caller.circle(Role::Reader)?.uid;
    let mut params = Params::of(&request)?;
    let binding = cursor_binding(&caller.tenant.to_string(), &caller.principal, request.path(), request.query_string());
    let page = PageRequest::read(&mut params, &app.cursor_key, binding, caller.checked_at)?;
    params.finish()?;
    let (db, tenant) = (app.db.clone(), caller.tenant);
    let (after, limit) = (page.after.clone(), page.limit.probe());
    let members = app
        .db
        .run(async move { members::list(&mut db.read(tenant).await?, tenant, circle, after.as_deref(), limit).await });
    Ok(Json(page.page(&app.cursor_key, members.await?, |member| member.agent_id.to_string())?))
}

/// Members, in the order in which they were sent.
#[derive(Serialize, ToSchema)]
struct Members {
    members: Vec<Member>,
}

/// Add members, or change their roles
///
/// By an owner. All or none; nobody is removed. A trusted back end may name agents that are not there yet, where the tenant
/// creates agents by itself.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:manage"])), params(("circle_id" = ExternalId, Path), Idempotency), request_body = NewMembers,
    responses((status = OK, body = Members), Problems))]
#[put("/circles/{circle_id}/members")]
async fn put_members(
    caller: CircleManager,
    app: Data<App>,
    once: Idempotency,
    body: Body<NewMembers>,
) -> Result<Json<Members>> {
    let circle = caller.circle(Role::Owner)?.clone();
    let set = service::set(app.db.clone(), Actor::of(&caller, once), circle, body.0.members);
    let (members, _) = app.db.run(set).await?;
    Ok(Json(Members { members }))
}

/// Add a member, or change its role
///
/// By an owner. The role holds from the very next call on. Who becomes a reader gives its claimed tasks back, and what it
/// shared stays, frozen: see `shared_readonly`.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:manage"])), params(("circle_id" = ExternalId, Path), ("agent_id" = ExternalId, Path), Idempotency),
    request_body = MemberDraft, responses((status = OK, body = Member, headers(("ETag" = String))), (status = CREATED, body = Member, headers(("ETag" = String))), Problems))]
#[put("/circles/{circle_id}/members/{agent_id}")]
async fn put_member(
    caller: CircleManager,
    app: Data<App>,
    path: Path<(String, String)>,
    once: Idempotency,
    body: Body<MemberDraft>,
) -> Result<HttpResponse> {
    let circle = caller.circle(Role::Owner)?.clone();
    let wanted = NewMember { agent_id: agent_id(&path.1)?, role: body.0.role };
    let set = service::set(app.db.clone(), Actor::of(&caller, once), circle, vec![wanted]);
    let (mut members, added) = app.db.run(set).await.map_err(no_such_agent)?;
    let status = if added > 0 { StatusCode::CREATED } else { StatusCode::OK };
    let member = members.pop().ok_or_else(|| Error::not_found("member"))?;
    Ok(HttpResponse::build(status).insert_header((ETAG, member.etag().to_string())).json(member))
}

/// What is wrong with an item of a list is, here, that the path leads nowhere.
fn no_such_agent(error: Error) -> Error {
    match error {
        Error::Invalid(invalids) if invalids.iter().any(|invalid| invalid.code == Code::InvalidValue) => {
            Error::not_found("agent")
        }
        other => other,
    }
}

/// Remove a member, or leave
///
/// By an owner, or by the member itself. It takes effect on the very next call, whatever is cached. What the member shared
/// stays for the circle, frozen, unless `unshare=true`; tasks it has claimed are open again.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:manage"])),
    params(("circle_id" = ExternalId, Path), ("agent_id" = ExternalId, Path), ("unshare" = Option<bool>, Query, description = "Take along what the member shared"),
        ("If-Match" = Option<String>, Header), Idempotency),
    responses((status = NO_CONTENT), Problems))]
#[delete("/circles/{circle_id}/members/{agent_id}")]
async fn remove_member(
    caller: CircleManager,
    app: Data<App>,
    path: Path<(String, String)>,
    condition: IfMatch,
    once: Idempotency,
    request: HttpRequest,
) -> Result<HttpResponse> {
    let member = agent_id(&path.1)?;
    let mut params = Params::of(&request)?;
    let unshare = params.one("unshare", yes_or_no).unwrap_or_default();
    params.finish()?;
    let circle = match caller.circle(Role::Reader) {
        Ok(circle) => circle.clone(),
        // Who sends its leaving again is no member any more.
        Err(error) => match caller.path_circle.clone().filter(|_| once.is_keyed()) {
            Some(circle) => circle,
            None => return Err(error),
        },
    };
    let removal = Removal { circle, member, unshare, condition };
    app.db.run(service::remove(app.db.clone(), Actor::of(&caller, once), removal)).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn agent_id(raw: &str) -> Result<ExternalId> {
    Ok(ExternalId::parse(raw).map_err(|invalid| invalid.under("agent_id"))?)
}

fn yes_or_no(raw: &str) -> Result<bool, Invalid> {
    raw.parse().map_err(|_| Invalid::new(Code::InvalidValue, "must be true or false"))
}
