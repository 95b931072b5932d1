//! Forgetting: one memory, those that match, those that have expired, all of an agent.

use std::time::Duration;

use crate::agents;
use crate::db::{Db, Intent, WriteTx};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::http::IfMatch;
use crate::ids::{AgentUid, ExternalId, MemoryId, ScopeId, TenantId};
use crate::memories::model::{Reach, check_author};
use crate::memories::service::{bump_all, numbered};
use crate::memories::{MemoryFilter, locks, placements, removals, shares, store};
use crate::usage;

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
    let touched = bump_all(&mut tx, tenant, &locked, &[]).await?;
    remove(&mut tx, tenant, &locked, &touched, Some(&intent.principal)).await?;
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
    let touched = bump_all(&mut tx, tenant, &locked, &[]).await?;
    remove(&mut tx, tenant, &locked, &touched, Some(&intent.principal)).await?;
    let forgotten = locked.len() as u64;
    tx.record(&forgotten).await?;
    tx.commit(&touched).await?;
    Ok(forgotten)
}

/// Deletes at most `limit` memories that have expired by the database's clock. Returns how many, and the scopes that
/// were touched, which are bumped.
pub async fn purge_expired(tx: &mut WriteTx, tenant: TenantId, limit: i64) -> Result<(u64, Vec<ScopeId>)> {
    let locked = locks::lock_expired(tx, tenant, limit).await?;
    let touched = bump_all(tx, tenant, &locked, &[]).await?;
    remove(tx, tenant, &locked, &touched, None).await?;
    Ok((locked.len() as u64, touched))
}

/// Deletes at most `limit` notes of what left a scope so long ago; returns how many. An index that is older than the
/// notes that are left reads its scope again.
pub async fn purge_removals(tx: &mut WriteTx, tenant: TenantId, kept: Duration, limit: i64) -> Result<u64> {
    let scopes = removals::list_scopes(tx, tenant, kept, limit).await?;
    tx.lock_scopes(&scopes).await?;
    removals::delete(tx, tenant, &scopes, kept, limit).await
}

/// Takes all memories of an agent along with it, within the transaction that deletes the agent. Returns how many, and
/// the scopes that were touched; `also` is among them.
pub async fn erase_author(
    tx: &mut WriteTx,
    intent: &Intent,
    agent: AgentUid,
    also: &[ScopeId],
) -> Result<(u64, Vec<ScopeId>)> {
    let locked = locks::lock_author(tx, intent.tenant, agent).await?;
    let touched = bump_all(tx, intent.tenant, &locked, also).await?;
    remove(tx, intent.tenant, &locked, &touched, Some(&intent.principal)).await?;
    Ok((locked.len() as u64, touched))
}

/// Removes locked memories from all their scopes, which are bumped, and for good.
async fn remove(
    tx: &mut WriteTx,
    tenant: TenantId,
    locked: &[MemoryId],
    scopes: &[ScopeId],
    forgotten_by: Option<&str>,
) -> Result<()> {
    if locked.is_empty() {
        return Ok(());
    }
    delete(tx, tenant, locked, scopes, forgotten_by).await?;
    if forgotten_by.is_some() {
        // Questions may tell what is to be forgotten.
        usage::forget_texts(tx, tenant, Some(scopes)).await?;
    }
    tx.announce(Event::MemoryForgotten { memories: locked.iter().map(|id| id.uuid()).collect() });
    Ok(())
}

/// The same without a word: what has expired made room for another.
pub(super) async fn delete(
    tx: &mut WriteTx,
    tenant: TenantId,
    locked: &[MemoryId],
    scopes: &[ScopeId],
    forgotten_by: Option<&str>,
) -> Result<()> {
    let numbered = numbered(tx, scopes)?;
    placements::delete(tx, tenant, locked, &numbered).await?;
    shares::end_everywhere(tx, tenant, locked, forgotten_by).await?;
    let (gone, bytes) = store::delete(tx, tenant, locked, forgotten_by).await?;
    tx.count(-gone, -bytes);
    Ok(())
}
