//! Routes of keys and tokens.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse, delete, get, post};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::auth::model::{AccessToken, IssuedKey, Rotation, TokenRequest};
use crate::auth::service::{self, Giver};
use crate::auth::{Holder, Key, KeyManager, NewKey, store};
use crate::db::Idempotency;
use crate::error::{Code, Error, Invalid, Result};
use crate::http::{Body, Page, PageRequest, Params, Problems, cursor_binding};
use crate::ids::KeyId;

pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(create_key).service(list_keys).service(revoke_key).service(rotate_key).service(create_token);
}

/// Issue a key
///
/// Its scopes are at most the caller's. Who acts as an agent issues for that agent alone. The key is shown this once.
#[utoipa::path(tag = "keys", security(("credential" = ["keys:manage"])), params(Idempotency), request_body = NewKey,
    responses((status = CREATED, body = IssuedKey), Problems))]
#[post("/keys")]
async fn create_key(caller: KeyManager, app: Data<App>, once: Idempotency, body: Body<NewKey>) -> Result<HttpResponse> {
    body.0.check_expiry(caller.checked_at)?;
    let environment = app.config.auth.key_environment.clone();
    let issue = service::issue_key(app.db.clone(), Giver::of(&caller, once), environment, body.0);
    Ok(secret(HttpResponse::Created().json(app.db.run(issue).await?)))
}

/// List keys
///
/// In the order in which they were issued, revoked ones too. Who acts as an agent sees the keys of that agent.
#[utoipa::path(tag = "keys", security(("credential" = ["keys:manage"])),
    params(("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Items a page; 50 when left out"), ("cursor" = Option<String>, Query)),
    responses((status = OK, body = Page<Key>), Problems))]
#[get("/keys")]
async fn list_keys(caller: KeyManager, app: Data<App>, request: HttpRequest) -> Result<Json<Page<Key>>> {
    let mut params = Params::of(&request)?;
    let binding = cursor_binding(&caller.tenant.to_string(), &caller.principal, request.path(), request.query_string());
    let page = PageRequest::read(&mut params, &app.cursor_key, binding, caller.checked_at)?;
    params.finish()?;
    let (db, tenant, confined_to) =
        (app.db.clone(), caller.tenant, Giver::of(&caller, Idempotency::default()).confined_to());
    let (after, limit) = (page.after.as_deref().and_then(KeyId::parse), page.limit.probe());
    let keys =
        app.db.run(async move { store::list(&mut db.read(tenant).await?, tenant, confined_to, after, limit).await });
    Ok(Json(page.page(&app.cursor_key, keys.await?, |key| key.id.to_string())?))
}

/// Revoke a key
///
/// It and its tokens are refused from the very next call on, everywhere.
#[utoipa::path(tag = "keys", security(("credential" = ["keys:manage"])), params(("key_id" = KeyId, Path), Idempotency),
    responses((status = NO_CONTENT), Problems))]
#[delete("/keys/{key_id}")]
async fn revoke_key(caller: KeyManager, app: Data<App>, id: Path<String>, once: Idempotency) -> Result<HttpResponse> {
    let giver = Giver::of(&caller, once);
    let confined_to = giver.confined_to();
    let revoke = service::revoke_key(app.db.clone(), giver.intent, key_id(&id)?, confined_to);
    app.db.run(revoke).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Rotate a key
///
/// Issues a successor with the same name, scopes, agent and length of life; the key itself ends after the overlap. The caller
/// needs all of its scopes.
#[utoipa::path(tag = "keys", security(("credential" = ["keys:manage"])), params(("key_id" = KeyId, Path), Idempotency),
    request_body = Rotation, responses((status = OK, body = IssuedKey), Problems))]
#[post("/keys/{key_id}/rotate")]
async fn rotate_key(
    caller: KeyManager,
    app: Data<App>,
    id: Path<String>,
    once: Idempotency,
    body: Body<Rotation>,
) -> Result<HttpResponse> {
    let environment = app.config.auth.key_environment.clone();
    let rotate =
        service::rotate_key(app.db.clone(), Giver::of(&caller, once), environment, key_id(&id)?, body.0.overlap_secs);
    Ok(secret(HttpResponse::Ok().json(app.db.run(rotate).await?)))
}

/// Exchange a key for a token
///
/// A JWT that lives at most 15 minutes, grants at most what the key grants, and dies with the key.
#[utoipa::path(tag = "keys", security(("credential" = [])), request_body = TokenRequest,
    responses((status = OK, body = AccessToken), Problems))]
#[post("/auth/token")]
async fn create_token(caller: Holder, app: Data<App>, body: Body<TokenRequest>) -> Result<HttpResponse> {
    Ok(secret(HttpResponse::Ok().json(service::issue_token(&app, &caller, body.0).await?)))
}

/// An answer that no cache on the way may keep.
fn secret(mut answer: HttpResponse) -> HttpResponse {
    answer.headers_mut().insert(CACHE_CONTROL, actix_web::http::header::HeaderValue::from_static("no-store"));
    answer
}

fn key_id(raw: &str) -> Result<KeyId> {
    KeyId::parse(raw).ok_or_else(|| Error::from(Invalid::new(Code::InvalidId, "must be a UUID").under("key_id")))
}
