//! Forgetting: one memory, those that match, those that have expired, all of an agent.

use crate::agents;
use crate::db::{Db, Intent, WriteTx};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::http::IfMatch;
use crate::ids::{AgentUid, ExternalId, MemoryId, ScopeId, TenantId};
use crate::memories::model::{Reach, check_author};
use crate::memories::service::numbered;
use crate::memories::{MemoryFilter, locks, placements, store};

/// Forgets one memory, everywhere.
pub async fn forget(db: Db, intent: Intent, id: MemoryId, reach: Reach, condition: IfMatch) -> Result<()> {
    let tenant = intent.tenant;
    let mut tx = db.write(tenant).await?;
    if let Some(author) = tx.claim(&intent.once).await? {
        return reach.check_replay(author);
    }
    let locked = locks::lock_for_delete(&mut tx, tenant, &[id]).await?;
    let memory = store::find(&mut tx, tenant, id, &reach).await?.ok_or_else(|| Error::not_found("memory"))?;
    check_author(&memory, &reach)?;
    condition.check(memory.etag())?;
    let touched = remove(&mut tx, tenant, &locked, Some(&intent.principal)).await?;
    tx.record(&memory.agent_uid).await?;
    tx.commit(&touched).await
}

/// Forgets an agent's own memories that match; returns how many.
pub async fn forget_matching(db: Db, intent: Intent, agent: ExternalId, filter: MemoryFilter) -> Result<u64> {
    let tenant = intent.tenant;
    let mut tx = db.write(tenant).await?;
    if let Some(forgotten) = tx.claim(&intent.once).await? {
        return Ok(forgotten);
    }
    let agent = agents::lock(&mut tx, tenant, &agent).await?.ok_or_else(|| Error::not_found("agent"))?;
    let locked = locks::lock_matching(&mut tx, tenant, agent, &filter).await?;
    let touched = remove(&mut tx, tenant, &locked, Some(&intent.principal)).await?;
    let forgotten = locked.len() as u64;
    tx.record(&forgotten).await?;
    tx.commit(&touched).await?;
    Ok(forgotten)
}

/// Deletes at most `limit` memories that have expired by the database's clock; returns how many.
pub async fn purge_expired(db: Db, tenant: TenantId, limit: i64) -> Result<u64> {
    let mut tx = db.write(tenant).await?;
    let locked = locks::lock_expired(&mut tx, tenant, limit).await?;
    let touched = remove(&mut tx, tenant, &locked, None).await?;
    if !touched.is_empty() {
        tx.commit(&touched).await?;
    }
    Ok(locked.len() as u64)
}

/// Takes all memories of an agent along with it, within the transaction that deletes the agent.
/// Returns how many, and the scopes that were touched.
pub async fn erase_author(
    tx: &mut WriteTx,
    tenant: TenantId,
    agent: AgentUid,
    also: &[ScopeId],
    principal: &str,
) -> Result<(u64, Vec<ScopeId>)> {
    let locked = locks::lock_author(tx, tenant, agent).await?;
    let mut touched = remove(tx, tenant, &locked, Some(principal)).await?;
    tx.lock_scopes(also).await?;
    tx.bump(also).await?;
    touched.extend_from_slice(also);
    Ok((locked.len() as u64, touched))
}

/// Removes locked memories from all their scopes and for good; returns the scopes.
async fn remove(
    tx: &mut WriteTx,
    tenant: TenantId,
    locked: &[MemoryId],
    forgotten_by: Option<&str>,
) -> Result<Vec<ScopeId>> {
    if locked.is_empty() {
        return Ok(Vec::new());
    }
    let scopes = placements::scopes_of(tx, tenant, locked).await?;
    tx.lock_scopes(&scopes).await?;
    #[cfg(feature = "sabotage")]
    tx.pretend_bumped(&scopes).await?;
    tx.bump(&scopes).await?;
    let numbered = numbered(tx, &scopes)?;
    placements::delete(tx, tenant, locked, &numbered).await?;
    let (gone, bytes) = store::delete(tx, tenant, locked, forgotten_by).await?;
    tx.count(-gone, -bytes);
    tx.announce(Event::MemoryForgotten { memories: locked.iter().map(|id| id.uuid()).collect() });
    Ok(scopes)
}
