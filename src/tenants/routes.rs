//! Routes of tenants: the operator's, and a tenant's own. Erasing one is the business of `erase`.

use actix_web::http::header::{CACHE_CONTROL, ETAG};
use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse, get, patch, post};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::auth::{Operator, TenantAdmin};
use crate::config::Limits;
use crate::db::Idempotency;
use crate::error::Result;
use crate::http::{Body, IfMatch, Page, PageRequest, Params, Problems, cursor_binding};
use crate::ids::TenantId;
use crate::tenants::model::{NewTenant, OwnUsage, SettingsPatch};
use crate::tenants::quotas::Rates;
use crate::tenants::service::{self, Own};
use crate::tenants::{Founding, Settings, Tenant, store};

pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(create_tenant).service(list_tenants).service(get_own_tenant).service(patch_own_tenant);
}

/// A tenant just made. `api_key` is shown this once.
#[derive(Serialize, ToSchema)]
struct CreatedTenant {
    tenant: Tenant,
    /// A key with every scope but `platform`. Null where the answer is a replay.
    api_key: Option<String>,
}

/// Create a tenant
///
/// For good with the embedding model that this server runs.
#[utoipa::path(tag = "platform", security(("credential" = ["platform"])), params(Idempotency), request_body = NewTenant,
    responses((status = CREATED, body = CreatedTenant, headers(("ETag" = String))), Problems))]
#[post("/platform/tenants")]
async fn create_tenant(
    caller: Operator,
    app: Data<App>,
    once: Idempotency,
    body: Body<NewTenant>,
) -> Result<HttpResponse> {
    let founding = Founding {
        seal: app.secret_key.clone(),
        embedding_pin: app.embedder.pin().to_owned(),
        key_environment: app.config.auth.key_environment.clone(),
    };
    let founded = app.db.run(service::found(app.db.clone(), caller.intent(once), founding, body.0)).await?;
    let etag = founded.tenant.etag().to_string();
    let created = CreatedTenant { tenant: founded.tenant, api_key: founded.api_key };
    Ok(HttpResponse::Created().insert_header((ETAG, etag)).insert_header((CACHE_CONTROL, "no-store")).json(created))
}

/// List tenants
///
/// In the order of their ids, which is the order in which they were created.
#[utoipa::path(tag = "platform", security(("credential" = ["platform"])),
    params(("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Items a page; 50 when left out"), ("cursor" = Option<String>, Query)),
    responses((status = OK, body = Page<Tenant>), Problems))]
#[get("/platform/tenants")]
async fn list_tenants(caller: Operator, app: Data<App>, request: HttpRequest) -> Result<Json<Page<Tenant>>> {
    let mut params = Params::of(&request)?;
    let binding = cursor_binding(&caller.tenant.to_string(), &caller.principal, request.path(), request.query_string());
    let page = PageRequest::read(&mut params, &app.cursor_key, binding, caller.checked_at)?;
    params.finish()?;
    let (pool, limit) = (app.db.background().clone(), page.limit.probe());
    let after = page.after.as_deref().and_then(|id| id.parse().ok()).map(TenantId::from_uuid);
    let tenants = app.db.run(async move { store::list(&pool, after, limit).await });
    Ok(Json(page.page(&app.cursor_key, tenants.await?, |tenant| tenant.id.to_string())?))
}

/// A tenant, as it sees itself.
#[derive(Serialize, ToSchema)]
struct OwnTenant {
    #[serde(flatten)]
    tenant: Tenant,
    settings: Settings,
    /// The limits in force.
    limits: Limits,
    /// How much may be called for in a time.
    rates: Rates,
    usage: OwnUsage,
}

/// Get one's own tenant
///
/// Its settings, its quotas and what it uses of them, and the limits in force.
#[utoipa::path(tag = "tenant", security(("credential" = ["tenant:admin"])),
    responses((status = OK, body = OwnTenant, headers(("ETag" = String))), Problems))]
#[get("/tenant")]
async fn get_own_tenant(caller: TenantAdmin, app: Data<App>) -> Result<HttpResponse> {
    let own = app.db.run(service::own(app.db.clone(), caller.tenant)).await?;
    Ok(answer(own, &app))
}

/// Change one's own settings
///
/// A JSON merge patch: absent fields stay, null sets back to the default.
#[utoipa::path(tag = "tenant", security(("credential" = ["tenant:admin"])), params(("If-Match" = Option<String>, Header), Idempotency),
    request_body = SettingsPatch, responses((status = OK, body = OwnTenant, headers(("ETag" = String))), Problems))]
#[patch("/tenant")]
async fn patch_own_tenant(
    caller: TenantAdmin,
    app: Data<App>,
    condition: IfMatch,
    once: Idempotency,
    body: Body<SettingsPatch>,
) -> Result<HttpResponse> {
    let patch = service::patch_settings(app.db.clone(), caller.intent(once), body.0, condition);
    Ok(answer(app.db.run(patch).await?, &app))
}

fn answer(own: Own, app: &App) -> HttpResponse {
    let etag = own.tenant.etag().to_string();
    let Own { tenant, settings, usage } = own;
    let limits = app.config.limits.clone();
    let rates = Rates {
        tenant: app.rates.of_tenant(tenant.id, tenant.quotas.of_calls().into()).into(),
        principal: app.rates.of_principal(tenant.id).into(),
    };
    HttpResponse::Ok().insert_header((ETAG, etag)).json(OwnTenant { tenant, settings, limits, rates, usage })
}
