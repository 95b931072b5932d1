//! Flushing: the stamps of what is named change, so that no answer made before is taken any more, on any instance
//! and whatever Redis does.

mod analytics;

use crate::agents;
use crate::cache::Kind;
use crate::db::{Db, Intent, WriteTx};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::ids::{ScopeId, TenantId};
use crate::insight::model::{Flush, FlushReceipt};
use crate::insight::store;
use crate::secrets::SecretKey;
use crate::tenants;

pub use analytics::{Asked, Only, analyse};

pub async fn flush(db: Db, intent: Intent, seal: SecretKey, flush: Flush) -> Result<FlushReceipt> {
    let tenant = intent.tenant;
    let mut tx = db.write(tenant).await?;
    if let Some(receipt) = tx.claim(&intent.once).await? {
        return Ok(receipt);
    }
    let new_secret = flush.kinds.contains(&Kind::Embedding);
    if new_secret {
        replace_secret(&mut tx, tenant, &seal).await?;
    }
    let scopes = scopes(&mut tx, tenant, &flush).await?;
    tx.lock_scopes(&scopes).await?;
    tx.bump(&scopes).await?;
    let kinds: Vec<String> = flush.kinds.iter().map(|kind| kind.name().to_owned()).collect();
    let receipt = FlushReceipt { kinds: kinds.clone(), scopes: scopes.len(), new_secret };
    tx.announce(Event::CacheFlushed { kinds, whole: flush.is_whole() });
    tx.record(&receipt).await?;
    tx.commit(&scopes).await?;
    Ok(receipt)
}

/// Counting anew is sent to all instances, once; false where it was sent before.
pub async fn reset_stats(db: Db, intent: Intent) -> Result<bool> {
    let mut tx = db.write(intent.tenant).await?;
    if let Some(()) = tx.claim(&intent.once).await? {
        return Ok(false);
    }
    tx.announce(Event::CacheStatsReset);
    tx.record(&()).await?;
    tx.commit(&[]).await?;
    Ok(true)
}

/// What embeddings are named and sealed with. Recalls and contexts are too, and go with them.
async fn replace_secret(tx: &mut WriteTx, tenant: TenantId, seal: &SecretKey) -> Result<()> {
    tenants::find_for_update(tx, tenant).await?.ok_or_else(|| Error::not_found("tenant"))?;
    let sealed = seal.seal(&tenants::cache_secret_purpose(tenant), SecretKey::random().bytes())?;
    store::replace_cache_secret(tx, tenant, &sealed).await
}

/// The scopes that are named, of the kinds that are named.
async fn scopes(tx: &mut WriteTx, tenant: TenantId, flush: &Flush) -> Result<Vec<ScopeId>> {
    let (recall, circle) = (flush.kinds.contains(&Kind::Recall), flush.kinds.contains(&Kind::Circle));
    let mut scopes = Vec::new();
    if let Some(id) = &flush.agent_id {
        let agent = agents::lock(tx, tenant, id).await?.ok_or_else(|| Error::not_found("agent"))?;
        scopes.extend(recall.then(|| agent.scope()));
    }
    if let Some(id) = &flush.circle_id {
        let found = store::find_circle_scopes(tx, tenant, id).await?;
        let (content, board) = found.ok_or_else(|| Error::not_found("circle"))?;
        scopes.extend(recall.then_some(content));
        scopes.extend(circle.then_some(board));
    }
    if flush.is_whole() && (recall || circle) {
        scopes.push(store::find_tenant_scope(tx, tenant).await?);
    }
    Ok(scopes)
}
