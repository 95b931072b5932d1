//! Routes of agents. Deleting one erases what it remembers, which is the business of `erase`.

use actix_web::http::StatusCode;
use actix_web::http::header::ETAG;
use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse, get, patch, put};
use time::Duration;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::agents::model::AgentPatch;
use crate::agents::{Agent, AgentProfile, AgentStats, service, store};
use crate::app::App;
use crate::auth::{Reader, Writer};
use crate::db::Idempotency;
use crate::error::{Error, Result};
use crate::http::{Body, IfMatch, Page, PageRequest, Params, Problems, cursor_binding};
use crate::ids::ExternalId;
use crate::usage::{self, Span};

pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_agents).service(put_agent).service(get_agent).service(patch_agent).service(get_agent_stats);
}

/// List agents
///
/// In the order of their ids. A credential bound to an agent sees that one.
#[utoipa::path(tag = "agents", security(("credential" = ["memories:read"])),
    params(("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Items a page; 50 when left out"), ("cursor" = Option<String>, Query)),
    responses((status = OK, body = Page<Agent>), Problems))]
#[get("/agents")]
async fn list_agents(caller: Reader, app: Data<App>, request: HttpRequest) -> Result<Json<Page<Agent>>> {
    let mut params = Params::of(&request)?;
    let binding = cursor_binding(&caller.tenant.to_string(), &caller.principal, request.path(), request.query_string());
    let page = PageRequest::read(&mut params, &app.cursor_key, binding, caller.checked_at)?;
    params.finish()?;
    let (db, tenant) = (app.db.clone(), caller.tenant);
    let only = caller.acting().map(|agent| agent.id.clone());
    let (after, limit) = (page.after.clone(), page.limit.probe());
    let agents = app.db.run(async move {
        store::list(&mut db.read(tenant).await?, tenant, only.as_ref(), after.as_deref(), limit).await
    });
    Ok(Json(page.page(&app.cursor_key, agents.await?, |agent| agent.id.to_string())?))
}

/// Create or replace an agent
#[utoipa::path(tag = "agents", security(("credential" = ["memories:write"])), params(("agent_id" = ExternalId, Path), Idempotency), request_body = AgentProfile,
    responses((status = OK, body = Agent, headers(("ETag" = String))), (status = CREATED, body = Agent, headers(("ETag" = String))), Problems))]
#[put("/agents/{agent_id}")]
async fn put_agent(
    caller: Writer,
    app: Data<App>,
    once: Idempotency,
    body: Body<AgentProfile>,
) -> Result<HttpResponse> {
    let put = service::put(app.db.clone(), caller.intent(once), caller.agent()?.id.clone(), body.0);
    let (agent, created) = app.db.run(put).await?;
    Ok(answer(if created { StatusCode::CREATED } else { StatusCode::OK }, &agent))
}

/// Get an agent
#[utoipa::path(tag = "agents", security(("credential" = ["memories:read"])), params(("agent_id" = ExternalId, Path)), responses((status = OK, body = Agent, headers(("ETag" = String))), Problems))]
#[get("/agents/{agent_id}")]
async fn get_agent(caller: Reader, app: Data<App>) -> Result<HttpResponse> {
    let (db, tenant, id) = (app.db.clone(), caller.tenant, caller.agent()?.id.clone());
    let agent = app.db.run(async move { store::find(&mut db.read(tenant).await?, tenant, &id).await }).await?;
    let agent = agent.ok_or_else(|| Error::not_found("agent"))?;
    Ok(answer(StatusCode::OK, &agent))
}

/// Change an agent
///
/// A JSON merge patch: absent fields stay, null clears.
#[utoipa::path(tag = "agents", security(("credential" = ["memories:write"])), params(("agent_id" = ExternalId, Path), ("If-Match" = Option<String>, Header), Idempotency),
    request_body = AgentPatch, responses((status = OK, body = Agent, headers(("ETag" = String))), Problems))]
#[patch("/agents/{agent_id}")]
async fn patch_agent(
    caller: Writer,
    app: Data<App>,
    condition: IfMatch,
    once: Idempotency,
    body: Body<AgentPatch>,
) -> Result<HttpResponse> {
    let patch = service::patch(app.db.clone(), caller.intent(once), caller.agent()?.id.clone(), body.0, condition);
    Ok(answer(StatusCode::OK, &app.db.run(patch).await?))
}

/// Count what an agent remembers
///
/// And what it recalled, in the last 30 days.
#[utoipa::path(tag = "agents", security(("credential" = ["memories:read"])), params(("agent_id" = ExternalId, Path)), responses((status = OK, body = AgentStats), Problems))]
#[get("/agents/{agent_id}/stats")]
async fn get_agent_stats(caller: Reader, app: Data<App>) -> Result<Json<AgentStats>> {
    let (db, tenant, agent) = (app.db.clone(), caller.tenant, caller.known_agent()?);
    let month = Span::whole(caller.checked_at, Duration::days(29));
    let stats = app.db.run(async move {
        let mut conn = db.read(tenant).await?;
        let recalled = usage::of_agent(&mut conn, tenant, agent, month).await?;
        store::count(&mut conn, tenant, agent, recalled).await
    });
    Ok(Json(stats.await?))
}

fn answer(status: StatusCode, agent: &Agent) -> HttpResponse {
    HttpResponse::build(status).insert_header((ETAG, agent.etag().to_string())).json(agent)
}
