//! The route of a memory's history.

use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, get};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Reader;
use crate::error::Result;
use crate::http::{PageRequest, Params, Problems, cursor_binding};
use crate::ids::MemoryId;
use crate::memories::history::{Forgetting, MemoryVersion};
use crate::memories::routes::{memory_id, reach};
use crate::memories::service::{self, HistoryRequest};

/// A page of versions, newest first.
#[derive(Serialize, ToSchema)]
pub struct MemoryHistory {
    items: Vec<MemoryVersion>,
    /// Ask again with `cursor` set to this; null on the last page.
    next_cursor: Option<String>,
    /// Set once the memory was forgotten; its versions are gone then.
    forgotten: Option<Forgetting>,
}

/// Read the history of a memory
///
/// What it said in each version, which fields that changed, when, and by which credential. For the agent that
/// remembers it and for credentials that are bound to no agent. Of a memory that was forgotten remains that it was;
/// of one that has expired, nothing.
#[utoipa::path(tag = "memories", security(("credential" = ["memories:read"])),
    params(("id" = MemoryId, Path), ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Items a page; 50 when left out"),
        ("cursor" = Option<String>, Query)),
    responses((status = OK, body = MemoryHistory), Problems))]
#[get("/memories/{id}/history")]
pub async fn get_memory_history(
    caller: Reader,
    app: Data<App>,
    id: Path<String>,
    request: HttpRequest,
) -> Result<Json<MemoryHistory>> {
    let mut params = Params::of(&request)?;
    let binding = cursor_binding(&caller.tenant.to_string(), &caller.principal, request.path(), request.query_string());
    let page = PageRequest::read(&mut params, &app.cursor_key, binding, caller.checked_at)?;
    params.finish()?;
    // Cursors are signed, so that only a version comes back.
    let before = page.after.as_deref().and_then(|version| version.parse().ok());
    let wanted = HistoryRequest { id: memory_id(&id)?, reach: reach(&caller), before, limit: page.limit.probe() };
    let (versions, forgotten) = app.db.run(service::history(app.db.clone(), caller.tenant, wanted)).await?;
    let page = page.page(&app.cursor_key, versions, |version| version.version.to_string())?;
    Ok(Json(MemoryHistory { items: page.items, next_cursor: page.next_cursor, forgotten }))
}
