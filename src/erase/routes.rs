//! Routes that erase, and those of a single tenant, which may be its receipt.

use actix_web::http::header::ETAG;
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpResponse, delete, get, patch};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::auth::{Operator, Writer};
use crate::db::Idempotency;
use crate::erase::service::{self, AgentReceipt};
use crate::erase::{Eraser, TenantReceipt, store, tenant};
use crate::error::{Code, Error, Invalid, Result};
use crate::http::{Body, ETag, IfMatch, Problems};
use crate::ids::{ExternalId, TenantId};
use crate::tenants::{self, Tenant, TenantPatch};

pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(delete_agent).service(get_tenant).service(patch_tenant).service(delete_tenant);
}

/// Erase an agent
///
/// Its memories are gone everywhere, in circles too, and its bound credentials with it; it leaves its circles, and what it
/// had claimed there is open again. The receipt counts them.
#[utoipa::path(tag = "agents", security(("credential" = ["memories:write"])), params(("agent_id" = ExternalId, Path), ("If-Match" = Option<String>, Header), Idempotency),
    responses((status = OK, body = AgentReceipt), Problems))]
#[delete("/agents/{agent_id}")]
async fn delete_agent(
    caller: Writer,
    app: Data<App>,
    condition: IfMatch,
    once: Idempotency,
) -> Result<Json<AgentReceipt>> {
    let erase = service::erase_agent(app.db.clone(), caller.intent(once), caller.agent()?.id.clone(), condition);
    Ok(Json(app.db.run(erase).await?))
}

/// A tenant, or what is left of it.
#[derive(Serialize, ToSchema)]
struct TenantState {
    /// Null once it is erased.
    tenant: Option<Tenant>,
    /// Where its erasure was asked for.
    erasure: Option<TenantReceipt>,
}

/// Get a tenant
///
/// After its erasure the receipt remains.
#[utoipa::path(tag = "platform", security(("credential" = ["platform"])), params(("tenant_id" = TenantId, Path)),
    responses((status = OK, body = TenantState, headers(("ETag" = String))), Problems))]
#[get("/platform/tenants/{tenant_id}")]
async fn get_tenant(_: Operator, app: Data<App>, id: Path<String>) -> Result<HttpResponse> {
    let (db, id) = (app.db.clone(), tenant_id(&id)?);
    let state = app.db.run(async move {
        let tenant = tenants::find(&mut db.read(id).await?, id).await?;
        Ok(TenantState { tenant, erasure: store::find(db.background(), id).await? })
    });
    match state.await? {
        TenantState { tenant: None, erasure: None } => Err(Error::not_found("tenant")),
        state => {
            // A receipt is of the same tenant, which no condition fits any more.
            let etag = state.tenant.as_ref().map_or(ETag { incarnation: id.uuid(), version: 0 }, Tenant::etag);
            Ok(HttpResponse::Ok().insert_header((ETAG, etag.to_string())).json(state))
        }
    }
}

/// Change a tenant
///
/// Suspends and resumes it, effective on the very next call, and sets its quotas. A JSON merge patch: null lifts a quota.
#[utoipa::path(tag = "platform", security(("credential" = ["platform"])),
    params(("tenant_id" = TenantId, Path), ("If-Match" = Option<String>, Header), Idempotency),
    request_body = TenantPatch, responses((status = OK, body = TenantState, headers(("ETag" = String))), Problems))]
#[patch("/platform/tenants/{tenant_id}")]
async fn patch_tenant(
    caller: Operator,
    app: Data<App>,
    id: Path<String>,
    condition: IfMatch,
    once: Idempotency,
    body: Body<TenantPatch>,
) -> Result<HttpResponse> {
    let patch = tenants::patch(app.db.clone(), caller.intent(once), tenant_id(&id)?, body.0, condition);
    let tenant = app.db.run(patch).await?;
    let etag = tenant.etag().to_string();
    Ok(HttpResponse::Ok().insert_header((ETAG, etag)).json(TenantState { tenant: Some(tenant), erasure: None }))
}

/// Erase a tenant
///
/// Refuses it from the very next call on, everywhere, and deletes all it has, for good. Ask for the tenant to see how far
/// that is; the receipt counts the rows of each table.
#[utoipa::path(tag = "platform", security(("credential" = ["platform"])),
    params(("tenant_id" = TenantId, Path), ("If-Match" = Option<String>, Header), Idempotency),
    responses((status = ACCEPTED, body = TenantReceipt), Problems))]
#[delete("/platform/tenants/{tenant_id}")]
async fn delete_tenant(
    caller: Operator,
    app: Data<App>,
    eraser: Data<Eraser>,
    id: Path<String>,
    condition: IfMatch,
    once: Idempotency,
) -> Result<HttpResponse> {
    let begin = tenant::begin(app.db.clone(), caller.intent(once), tenant_id(&id)?, condition);
    let receipt = app.db.run(begin).await?;
    eraser.wake();
    Ok(HttpResponse::Accepted().json(receipt))
}

/// The operator's own tenant is nobody's to see.
fn tenant_id(raw: &str) -> Result<TenantId> {
    let id = raw.parse().map_err(|_| Invalid::new(Code::InvalidId, "must be a UUID").under("tenant_id"))?;
    match TenantId::from_uuid(id) {
        TenantId::OPERATOR => Err(Error::not_found("tenant")),
        id => Ok(id),
    }
}
