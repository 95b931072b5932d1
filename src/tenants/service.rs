//! What an operator does with tenants.

use crate::db::Db;
use crate::error::Result;
use crate::ids::{ScopeId, TenantId};
use crate::secrets::SecretKey;
use crate::tenants::{TenantSummary, store};
use crate::words::Name;

/// Creates a tenant, pinned for good to the embedding model it will be filled with.
pub async fn create(db: &Db, key: &SecretKey, name: &Name, embedding_pin: &str) -> Result<TenantId> {
    let tenant = TenantId::new();
    // The purpose names the tenant, so that one tenant's secret cannot be moved to another.
    let cache_secret = key.seal(&format!("cache:{tenant}"), SecretKey::random().bytes())?;
    let mut tx = db.write(tenant).await?;
    store::insert(&mut tx, tenant, name, ScopeId::random(), embedding_pin).await?;
    store::insert_secret(&mut tx, tenant, "cache", &cache_secret).await?;
    tx.commit(&[]).await?;
    Ok(tenant)
}

pub async fn list(db: &Db) -> Result<Vec<TenantSummary>> {
    store::list(db.background()).await
}

pub async fn find_by_name(db: &Db, name: &str) -> Result<Option<TenantSummary>> {
    Ok(list(db).await?.into_iter().find(|tenant| tenant.name == name))
}
