//! Routes that erase.

use actix_web::delete;
use actix_web::web::{Data, Json};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::auth::Writer;
use crate::erase::service::{self, AgentReceipt};
use crate::error::Result;
use crate::http::{IfMatch, Problems};
use crate::ids::ExternalId;

pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(delete_agent);
}

/// Erase an agent
///
/// Its memories are gone everywhere, and its bound credentials with it. The receipt counts them.
#[utoipa::path(tag = "agents", params(("agent_id" = ExternalId, Path), ("If-Match" = Option<String>, Header)),
    responses((status = OK, body = AgentReceipt), Problems))]
#[delete("/agents/{agent_id}")]
async fn delete_agent(caller: Writer, app: Data<App>, condition: IfMatch) -> Result<Json<AgentReceipt>> {
    let erase = service::erase_agent(app.db.clone(), caller.tenant, caller.agent()?.id.clone(), condition);
    Ok(Json(app.db.run(erase).await?))
}
