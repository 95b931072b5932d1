//! Erasing an agent: its memories everywhere, its credentials, itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::db::{Db, Intent};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::http::IfMatch;
use crate::ids::ExternalId;
use crate::{agents, auth, circles, memories, usage};

/// What went with an agent.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentReceipt {
    pub agent_id: ExternalId,
    pub memories: u64,
    /// Credentials that were bound to it.
    pub keys: u64,
    /// Circles it was a member of.
    pub circles: u64,
}

/// What is kept of it for a replay.
#[derive(Serialize, Deserialize)]
struct Counts {
    memories: u64,
    keys: u64,
    /// Releases before circles kept none.
    #[serde(default)]
    circles: u64,
}

impl Counts {
    fn receipt(self, agent_id: ExternalId) -> AgentReceipt {
        let Self { memories, keys, circles } = self;
        AgentReceipt { agent_id, memories, keys, circles }
    }
}

pub async fn erase_agent(db: Db, intent: Intent, id: ExternalId, condition: IfMatch) -> Result<AgentReceipt> {
    let tenant = intent.tenant;
    let mut tx = db.write(tenant).await?;
    if let Some(counts) = tx.claim::<Counts>(&intent.once).await? {
        return Ok(counts.receipt(id));
    }
    let agent = agents::lock_exclusively(&mut tx, tenant, &id).await?.ok_or_else(|| Error::not_found("agent"))?;
    condition.check(agent.etag())?;
    let (circles, boards) = circles::leave_all(&mut tx, &intent, agent.agent_uid).await?;
    let (memories, touched) = memories::erase_author(&mut tx, &intent, agent.agent_uid, &boards).await?;
    let keys = auth::delete_agent_keys(&mut tx, tenant, agent.agent_uid).await?;
    usage::forget_scopes(&mut tx, tenant, &[agent.agent_uid.scope()]).await?;
    agents::delete(&mut tx, tenant, agent.agent_uid).await?;
    tx.announce(Event::AgentDeleted { agent: agent.agent_uid.uuid() });
    let counts = Counts { memories, keys, circles };
    tx.record(&counts).await?;
    tx.commit(&touched).await?;
    Ok(counts.receipt(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_of_a_release_before_circles_is_still_read() {
        let counts: Counts = serde_json::from_str("[3,1]").expect("a receipt");
        assert_eq!((counts.memories, counts.keys, counts.circles), (3, 1, 0));
    }
}
