//! Routes that hand over everything, line by line, in constant memory.

use actix_web::web::{Bytes, Data};
use actix_web::{HttpResponse, get};
use futures_util::{TryStreamExt, stream};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::auth::{Reader, TenantAdmin};
use crate::error::{Code, Error, Result};
use crate::http::Problems;
use crate::ids::ExternalId;
use crate::memories::Memory;
use crate::memories::routes::reach;
use crate::memories::service::Export;
use crate::memories::store::Range;

pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(export_agent).service(export_tenant);
}

/// Export an agent's memories
///
/// One memory a line (NDJSON), oldest first: all that were remembered before the export began and are neither
/// forgotten nor expired when it comes to them. An answer that breaks off is incomplete; one that ends is whole.
/// `cairn import FILE --agent ID` takes it back: content, fields and times as they are here, while ids, `created_at`,
/// `updated_at` and `version` begin anew, and circles are left out: share again what is to be shared.
#[utoipa::path(tag = "memories", security(("credential" = ["memories:read"])), params(("agent_id" = ExternalId, Path)),
    responses((status = OK, body = Memory, content_type = "application/x-ndjson"), Problems))]
#[get("/agents/{agent_id}/export")]
async fn export_agent(caller: Reader, app: Data<App>) -> Result<HttpResponse> {
    let range = Range { agent: Some(caller.known_agent()?), circles: reach(&caller).circles };
    answer(Export::new(app.db.clone(), caller.tenant, range, caller.checked_at)).await
}

/// Export a tenant's memories
///
/// Those of every agent, as for one agent. `cairn import FILE --agent-field agent_id` takes it back. Not for a
/// credential that acts as an agent.
#[utoipa::path(tag = "memories", security(("credential" = ["tenant:admin"])),
    responses((status = OK, body = Memory, content_type = "application/x-ndjson"), Problems))]
#[get("/tenant/export")]
async fn export_tenant(caller: TenantAdmin, app: Data<App>) -> Result<HttpResponse> {
    if caller.acting().is_some() {
        let detail = "an export of the tenant takes a credential that acts as no agent";
        return Err(Error::refused(Code::InsufficientScope, detail));
    }
    let range = Range { agent: None, circles: None };
    answer(Export::new(app.db.clone(), caller.tenant, range, caller.checked_at)).await
}

async fn answer(mut export: Export) -> Result<HttpResponse> {
    // The first batch comes before the head, so that what fails at once is answered as a problem.
    let first = export.next().await?;
    let batches = stream::try_unfold((export, first), |(mut export, batch)| async move {
        if batch.is_empty() {
            return Ok(None);
        }
        let lines = lines(&batch)?;
        drop(batch);
        let next = export.next().await?;
        Ok::<_, Error>(Some((lines, (export, next))))
    });
    // An error breaks the connection: the last chunk, which says that the answer is whole, is never sent.
    let logged = batches.inspect_err(|error| tracing::error!(cause = causes(error), "an export broke off"));
    Ok(HttpResponse::Ok().content_type("application/x-ndjson").streaming(logged))
}

fn lines(batch: &[Memory]) -> Result<Bytes> {
    let mut lines = Vec::new();
    for memory in batch {
        serde_json::to_writer(&mut lines, memory).map_err(anyhow::Error::from)?;
        lines.push(b'\n');
    }
    Ok(lines.into())
}

fn causes(error: &Error) -> String {
    match error {
        Error::Internal(cause) | Error::Unavailable { cause, .. } => format!("{cause:#}"),
        other => other.to_string(),
    }
}
