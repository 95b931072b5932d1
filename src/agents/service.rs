//! Creating and changing agents.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::agents::model::AgentPatch;
use crate::agents::{Agent, AgentProfile, store};
use crate::db::{Db, Intent, TenantConn};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::http::IfMatch;
use crate::ids::{AgentUid, ExternalId, TenantId};

/// Which incarnation a write left, and whether it made it.
#[derive(Serialize, Deserialize)]
struct Written {
    agent: Uuid,
    created: bool,
}

/// Creates the agent or replaces what is said about it; true if it was created.
pub async fn put(db: Db, intent: Intent, id: ExternalId, profile: AgentProfile) -> Result<(Agent, bool)> {
    let tenant = intent.tenant;
    let mut tx = db.write(tenant).await?;
    if let Some(written) = tx.claim(&intent.once).await? {
        return replay(&mut tx, tenant, &id, &written).await;
    }
    let created = store::insert(&mut tx, tenant, &id, &profile).await?;
    let mut agent = found(store::find_for_update(&mut tx, tenant, &id).await?)?;
    if created {
        tx.announce(Event::AgentCreated { agent: agent.agent_uid.uuid() });
    }
    if !created && (&agent.name, &agent.metadata) != (&profile.name, &profile.metadata) {
        store::update(&mut tx, tenant, agent.agent_uid, &profile).await?;
        tx.announce(Event::AgentUpdated { agent: agent.agent_uid.uuid() });
        agent = found(store::find(&mut tx, tenant, &id).await?)?;
    }
    tx.record(&Written { agent: agent.agent_uid.uuid(), created }).await?;
    tx.commit(&[]).await?;
    Ok((agent, created))
}

pub async fn patch(db: Db, intent: Intent, id: ExternalId, patch: AgentPatch, condition: IfMatch) -> Result<Agent> {
    let tenant = intent.tenant;
    let mut tx = db.write(tenant).await?;
    if let Some(written) = tx.claim(&intent.once).await? {
        return Ok(replay(&mut tx, tenant, &id, &written).await?.0);
    }
    let mut agent = found(store::find_for_update(&mut tx, tenant, &id).await?)?;
    condition.check(agent.etag())?;
    let before = AgentProfile { name: agent.name.clone(), metadata: agent.metadata.clone() };
    let after = patch.apply(&before)?;
    if after != before {
        store::update(&mut tx, tenant, agent.agent_uid, &after).await?;
        tx.announce(Event::AgentUpdated { agent: agent.agent_uid.uuid() });
        agent = found(store::find(&mut tx, tenant, &id).await?)?;
    }
    tx.record(&Written { agent: agent.agent_uid.uuid(), created: false }).await?;
    tx.commit(&[]).await?;
    Ok(agent)
}

/// The agent that a write left, as it is now. One of the same name that was made since is another.
async fn replay(conn: &mut TenantConn, tenant: TenantId, id: &ExternalId, written: &Written) -> Result<(Agent, bool)> {
    let agent = store::find(conn, tenant, id).await?.filter(|agent| agent.agent_uid.uuid() == written.agent);
    Ok((agent.ok_or_else(|| Error::gone("agent"))?, written.created))
}

/// The agent's incarnation, locked against going away; created where it is unknown and `create` allows it.
pub async fn ensure(conn: &mut TenantConn, tenant: TenantId, id: &ExternalId, create: bool) -> Result<AgentUid> {
    if let Some(uid) = store::lock(conn, tenant, id).await? {
        return Ok(uid);
    }
    if !create {
        return Err(Error::not_found("agent"));
    }
    store::insert(conn, tenant, id, &AgentProfile::default()).await?;
    store::lock(conn, tenant, id).await?.ok_or_else(|| Error::not_found("agent"))
}

/// The incarnations of these agents, locked so that their circles can be counted; those that are unknown are created
/// where `create` allows it, and else left out.
pub async fn ensure_to_count(
    conn: &mut TenantConn,
    tenant: TenantId,
    ids: &[ExternalId],
    create: bool,
) -> Result<HashMap<ExternalId, AgentUid>> {
    if create && store::count_known(conn, tenant, ids).await? < ids.len() as i64 {
        store::insert_many(conn, tenant, ids).await?;
    }
    let mut found = store::try_to_count(conn, tenant, ids).await?;
    // One of them was erased while its lock was waited for. The locks of the others are given back first: taken again
    // together with that of the new one, they would not be taken in order.
    while create && found.len() < ids.len() {
        store::release(conn).await?;
        store::insert_many(conn, tenant, ids).await?;
        found = store::try_to_count(conn, tenant, ids).await?;
    }
    store::keep(conn).await?;
    Ok(found.into_iter().collect())
}

fn found(agent: Option<Agent>) -> Result<Agent> {
    agent.ok_or_else(|| Error::not_found("agent"))
}
