//! Erasing an agent: its memories everywhere, its credentials, itself.

use serde::Serialize;
use utoipa::ToSchema;

use crate::db::{Db, Intent};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::http::IfMatch;
use crate::ids::ExternalId;
use crate::{agents, auth, memories};

/// What went with an agent.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentReceipt {
    pub agent_id: ExternalId,
    pub memories: u64,
    /// Credentials that were bound to it.
    pub keys: u64,
}

pub async fn erase_agent(db: Db, intent: Intent, id: ExternalId, condition: IfMatch) -> Result<AgentReceipt> {
    let tenant = intent.tenant;
    let mut tx = db.write(tenant).await?;
    if let Some((memories, keys)) = tx.claim(&intent.once).await? {
        return Ok(AgentReceipt { agent_id: id, memories, keys });
    }
    let agent = agents::lock_exclusively(&mut tx, tenant, &id).await?.ok_or_else(|| Error::not_found("agent"))?;
    condition.check(agent.etag())?;
    let (memories, touched) = memories::erase_author(&mut tx, tenant, agent.agent_uid, &intent.principal).await?;
    let keys = auth::delete_agent_keys(&mut tx, tenant, agent.agent_uid).await?;
    agents::delete(&mut tx, tenant, agent.agent_uid).await?;
    tx.announce(Event::AgentDeleted { agent: agent.agent_uid.uuid() });
    tx.record(&(memories, keys)).await?;
    tx.commit(&touched).await?;
    Ok(AgentReceipt { agent_id: id, memories, keys })
}
