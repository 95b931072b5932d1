//! Creating and changing agents.

use crate::agents::model::AgentPatch;
use crate::agents::{Agent, AgentProfile, store};
use crate::db::{Db, TenantConn};
use crate::error::{Error, Result};
use crate::http::IfMatch;
use crate::ids::{AgentUid, ExternalId, TenantId};

/// Creates the agent or replaces what is said about it; true if it was created.
pub async fn put(db: Db, tenant: TenantId, id: ExternalId, profile: AgentProfile) -> Result<(Agent, bool)> {
    let mut tx = db.write(tenant).await?;
    let created = store::insert(&mut tx, tenant, &id, &profile).await?;
    let mut agent = found(store::find_for_update(&mut tx, tenant, &id).await?)?;
    if !created && (&agent.name, &agent.metadata) != (&profile.name, &profile.metadata) {
        store::update(&mut tx, tenant, agent.agent_uid, &profile).await?;
        agent = found(store::find(&mut tx, tenant, &id).await?)?;
    }
    tx.commit(&[]).await?;
    Ok((agent, created))
}

pub async fn patch(db: Db, tenant: TenantId, id: ExternalId, patch: AgentPatch, condition: IfMatch) -> Result<Agent> {
    let mut tx = db.write(tenant).await?;
    let mut agent = found(store::find_for_update(&mut tx, tenant, &id).await?)?;
    condition.check(agent.etag())?;
    let before = AgentProfile { name: agent.name.clone(), metadata: agent.metadata.clone() };
    let after = patch.apply(&before)?;
    if after != before {
        store::update(&mut tx, tenant, agent.agent_uid, &after).await?;
        agent = found(store::find(&mut tx, tenant, &id).await?)?;
    }
    tx.commit(&[]).await?;
    Ok(agent)
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

fn found(agent: Option<Agent>) -> Result<Agent> {
    agent.ok_or_else(|| Error::not_found("agent"))
}
