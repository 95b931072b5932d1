//! Routes of memories.

mod export;
mod history;
mod shares;

use actix_web::http::StatusCode;
use actix_web::http::header::ETAG;
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::auth::{Caller, Reader, Writer};
use crate::db::Idempotency;
use crate::error::{Code, Error, Invalid, Result};
use crate::http::{Body, FromBody, IfMatch, Page, PageRequest, Params, Problems, cursor_binding};
use crate::ids::{ExternalId, MemoryId};
use crate::json::{Fields, FromJson, Json as JsonIn};
use crate::memories::fields::Kind;
use crate::memories::model::{NewMemories, Reach};
use crate::memories::patch::MemoryPatch;
use crate::memories::service::{self, Author, Outcome, Remembered};
use crate::memories::store::{self, Position};
use crate::memories::{Memory, MemoryFilter, NewMemory};

pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(remember)
        .service(remember_batch)
        .service(list_memories)
        .service(forget_matching)
        .service(get_memory)
        .service(history::get_memory_history)
        .service(patch_memory)
        .service(forget_memory);
    shares::routes(cfg);
    export::routes(cfg);
}

/// Remember
///
/// When this answers, the memory can be recalled, on every instance. With the key of an existing memory, all its
/// fields are replaced. Without a key, equal content of the same agent is not stored twice: the answer is the memory
/// that is there, with `Cairn-Duplicate: true`. `circles` shares it at once with circles of which the agent is editor or
/// owner: with these and no others where the key existed, with these too where the content did. What is shared where the
/// agent is editor no more cannot be replaced (409 `shared_readonly`).
#[utoipa::path(tag = "memories", security(("credential" = ["memories:write"])), params(("agent_id" = ExternalId, Path), Idempotency), request_body = NewMemory,
    responses((status = CREATED, body = Memory, headers(("ETag" = String))), (status = OK, body = Memory, headers(("ETag" = String))), Problems))]
#[post("/agents/{agent_id}/remember")]
async fn remember(caller: Writer, app: Data<App>, once: Idempotency, body: Body<NewMemory>) -> Result<HttpResponse> {
    let (author, is_keyed) = (author(&caller, once)?, body.0.fields.key.is_some());
    if let Some(remembered) = service::remembered_before(&app, &author).await? {
        return answer(remembered, is_keyed);
    }
    service::check_model(&app, &caller.embedding_pin)?;
    body.0.fields.check_expiry(caller.checked_at)?;
    answer(service::remember(app.into_inner(), author, vec![body.0]).await?, is_keyed)
}

/// `is_keyed`: a key was sent, so that meeting the memory that is there is no surprise.
fn answer(remembered: Vec<Remembered>, is_keyed: bool) -> Result<HttpResponse> {
    let Remembered { memory, outcome } =
        remembered.into_iter().next().ok_or_else(|| Error::Internal(anyhow::anyhow!("remember returned nothing")))?;
    let status = if outcome == Outcome::Created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = HttpResponse::build(status);
    response.insert_header((ETAG, memory.etag().to_string()));
    if outcome == Outcome::Duplicate && !is_keyed {
        response.insert_header(("Cairn-Duplicate", "true"));
    }
    Ok(response.json(memory))
}

/// What a batch came to, in the order sent.
#[derive(Serialize, ToSchema)]
struct RememberedBatch {
    items: Vec<Remembered>,
}

/// Remember a batch
///
/// All or nothing, in one commit. Two memories of a batch must not have the same key.
#[utoipa::path(tag = "memories", security(("credential" = ["memories:write"])), params(("agent_id" = ExternalId, Path), Idempotency), request_body = NewMemories,
    responses((status = OK, body = RememberedBatch), Problems))]
#[post("/agents/{agent_id}/remember/batch")]
async fn remember_batch(
    caller: Writer,
    app: Data<App>,
    once: Idempotency,
    body: Body<NewMemories>,
) -> Result<Json<RememberedBatch>> {
    let author = author(&caller, once)?;
    if let Some(items) = service::remembered_before(&app, &author).await? {
        return Ok(Json(RememberedBatch { items }));
    }
    service::check_model(&app, &caller.embedding_pin)?;
    for (index, memory) in body.0.memories.iter().enumerate() {
        memory.fields.check_expiry(caller.checked_at).map_err(|invalid| invalid.under(index).under("memories"))?;
    }
    let items = service::remember(app.into_inner(), author, body.0.memories).await?;
    Ok(Json(RememberedBatch { items }))
}

/// List an agent's memories
///
/// Newest first. Filters may be repeated (`kinds=fact&kinds=event`); all that are given must hold.
#[utoipa::path(tag = "memories", security(("credential" = ["memories:read"])),
    params(("agent_id" = ExternalId, Path), ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Items a page; 50 when left out"),
        ("cursor" = Option<String>, Query), ("kinds" = Option<Vec<Kind>>, Query), ("tags_any" = Option<Vec<String>>, Query),
        ("tags_all" = Option<Vec<String>>, Query), ("speakers" = Option<Vec<String>>, Query), ("sources" = Option<Vec<String>>, Query),
        ("key" = Option<String>, Query), ("min_importance" = Option<f64>, Query, minimum = 0, maximum = 1), ("created_after" = Option<String>, Query),
        ("created_before" = Option<String>, Query), ("occurred_after" = Option<String>, Query), ("occurred_before" = Option<String>, Query)),
    responses((status = OK, body = Page<Memory>), Problems))]
#[get("/agents/{agent_id}/memories")]
async fn list_memories(caller: Reader, app: Data<App>, request: HttpRequest) -> Result<Json<Page<Memory>>> {
    let mut params = Params::of(&request)?;
    let binding = cursor_binding(&caller.tenant.to_string(), &caller.principal, request.path(), request.query_string());
    let page = PageRequest::read(&mut params, &app.cursor_key, binding, caller.checked_at)?;
    let filter = MemoryFilter::read_params(&mut params);
    params.finish()?;
    let (db, tenant, agent, reach) = (app.db.clone(), caller.tenant, caller.known_agent()?, reach(&caller));
    let (after, limit) = (page.after.as_deref().map(position).transpose()?, page.limit.probe());
    let memories = app.db.run(async move {
        store::list(&mut db.read(tenant).await?, tenant, agent, reach.circles.as_deref(), &filter, after, limit).await
    });
    Ok(Json(page.page(&app.cursor_key, memories.await?, |memory| {
        format!("{}:{}", memory.created_at.unix_timestamp_nanos() / 1000, memory.id)
    })?))
}

/// What to forget.
#[derive(ToSchema)]
struct ForgetRequest {
    /// At least one condition.
    filter: MemoryFilter,
}

impl FromJson for ForgetRequest {
    fn from_json(json: &JsonIn<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let filter = fields.required::<MemoryFilter>("filter");
        if filter.as_ref().is_some_and(MemoryFilter::is_empty) {
            fields.complain(
                "filter",
                Invalid::new(Code::FieldEmpty, "must have a condition; to forget everything, delete the agent"),
            );
        }
        fields.finish(|| Some(Self { filter: filter? }))
    }
}

impl FromBody for ForgetRequest {}

/// How many memories were forgotten.
#[derive(Serialize, ToSchema)]
struct Forgotten {
    forgotten: u64,
}

/// Forget what matches
///
/// The agent's own memories that match the filter, all or none.
#[utoipa::path(tag = "memories", security(("credential" = ["memories:write"])), params(("agent_id" = ExternalId, Path), Idempotency), request_body = ForgetRequest,
    responses((status = OK, body = Forgotten), Problems))]
#[post("/agents/{agent_id}/forget")]
async fn forget_matching(
    caller: Writer,
    app: Data<App>,
    once: Idempotency,
    body: Body<ForgetRequest>,
) -> Result<Json<Forgotten>> {
    let agent = caller.agent()?.id.clone();
    let work = service::forget_matching(app.db.clone(), caller.intent(once), agent, body.0.filter);
    Ok(Json(Forgotten { forgotten: app.db.run(work).await? }))
}

/// Get a memory
#[utoipa::path(tag = "memories", security(("credential" = ["memories:read"])), params(("id" = MemoryId, Path)), responses((status = OK, body = Memory, headers(("ETag" = String))), Problems))]
#[get("/memories/{id}")]
async fn get_memory(caller: Reader, app: Data<App>, id: Path<String>) -> Result<HttpResponse> {
    let (db, tenant, id, reach) = (app.db.clone(), caller.tenant, memory_id(&id)?, reach(&caller));
    let memory = app.db.run(async move { store::find(&mut db.read(tenant).await?, tenant, id, &reach).await }).await?;
    let memory = memory.ok_or_else(|| Error::not_found("memory"))?;
    Ok(HttpResponse::Ok().insert_header((ETAG, memory.etag().to_string())).json(memory))
}

/// Change a memory
///
/// A JSON merge patch: absent fields stay, null sets back to the default. New text is embedded anew. The change reaches
/// every circle that it is shared with; where its author is editor no more, it is refused (409 `shared_readonly`), and
/// only forgetting is left, or an owner who unshares it. `circles` alone raises no version.
#[utoipa::path(tag = "memories", security(("credential" = ["memories:write"])), params(("id" = MemoryId, Path), ("If-Match" = Option<String>, Header), Idempotency),
    request_body = MemoryPatch, responses((status = OK, body = Memory, headers(("ETag" = String))), Problems))]
#[patch("/memories/{id}")]
async fn patch_memory(
    caller: Writer,
    app: Data<App>,
    id: Path<String>,
    condition: IfMatch,
    once: Idempotency,
    body: Body<MemoryPatch>,
) -> Result<HttpResponse> {
    service::check_model(&app, &caller.embedding_pin)?;
    let edit = service::Edit {
        intent: caller.intent(once),
        owner: caller.owner(),
        id: memory_id(&id)?,
        reach: reach(&caller),
        patch: body.0,
        condition,
        now: caller.checked_at,
    };
    let memory = service::edit(app.into_inner(), edit).await?;
    Ok(HttpResponse::Ok().insert_header((ETAG, memory.etag().to_string())).json(memory))
}

/// Forget a memory
///
/// Its content is gone from everywhere.
#[utoipa::path(tag = "memories", security(("credential" = ["memories:write"])), params(("id" = MemoryId, Path), ("If-Match" = Option<String>, Header), Idempotency),
    responses((status = NO_CONTENT), Problems))]
#[delete("/memories/{id}")]
async fn forget_memory(
    caller: Writer,
    app: Data<App>,
    id: Path<String>,
    condition: IfMatch,
    once: Idempotency,
) -> Result<HttpResponse> {
    let forget = service::forget(app.db.clone(), caller.intent(once), memory_id(&id)?, reach(&caller), condition);
    app.db.run(forget).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn memory_id(raw: &str) -> Result<MemoryId> {
    Ok(MemoryId::parse(raw).map_err(|invalid| invalid.under("id"))?)
}

fn author(caller: &Caller, once: Idempotency) -> Result<Author> {
    let agent = caller.agent()?;
    Ok(Author {
        intent: caller.intent(once),
        owner: caller.owner(),
        agent: agent.id.clone(),
        uid: agent.uid,
        may_create: caller.auto_create_agents && !caller.bound,
        reach: reach(caller),
        memberships: caller.memberships.clone(),
    })
}

/// An agent sees its circles; a trusted back end sees all of its tenant.
fn reach(caller: &Caller) -> Reach {
    match caller.acting() {
        // An agent that is not there reaches nothing: no memory has the nil author.
        Some(agent) => Reach {
            acting: Some(agent.uid.unwrap_or(crate::ids::AgentUid::from_uuid(uuid::Uuid::nil()))),
            circles: Some(caller.memberships.iter().map(|membership| membership.content).collect()),
        },
        None => Reach { acting: None, circles: None },
    }
}

/// The position in a cursor. Cursors are signed, so only this function's own output comes back.
fn position(text: &str) -> Result<Position> {
    let parsed = text.split_once(':').and_then(|(micros, id)| {
        let nanos = micros.parse::<i128>().ok()?.checked_mul(1000)?;
        let created_at = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?;
        Some(Position { created_at, id: MemoryId::parse(id).ok()? })
    });
    parsed.ok_or_else(|| Error::refused(Code::InvalidCursor, "the cursor does not belong to this list; start over"))
}
