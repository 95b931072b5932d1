//! Issuing and revoking API keys.

use crate::auth::{Issued, KeySummary, NewKey, PlainKey, store};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::{KeyId, TenantId};

/// Issues a key. What it returns is the only copy of the secret.
pub async fn create_key(db: &Db, tenant: TenantId, environment: &str, new: &NewKey) -> Result<Issued> {
    let key = PlainKey::generate(environment);
    let mut tx = db.write(tenant).await?;
    let agent = match &new.agent {
        Some(id) => Some(store::lock_agent(&mut tx, tenant, id).await?.ok_or_else(|| Error::not_found("agent"))?),
        None => None,
    };
    store::insert(&mut tx, tenant, &key, new, agent).await?;
    tx.commit(&[]).await?;
    Ok(Issued { tenant, key })
}

pub async fn list_keys(db: &Db, tenant: TenantId) -> Result<Vec<KeySummary>> {
    store::list(&mut db.read(tenant).await?, tenant).await
}

/// Takes effect on the very next call, anywhere: every call asks the gate.
pub async fn revoke_key(db: &Db, tenant: TenantId, key: KeyId) -> Result<()> {
    let mut tx = db.write(tenant).await?;
    if !store::revoke(&mut tx, tenant, key).await? {
        return Err(Error::not_found("key"));
    }
    tx.commit(&[]).await
}

pub async fn key_tenant(db: &Db, key: KeyId) -> Result<TenantId> {
    store::key_tenant(db.background(), key).await?.ok_or_else(|| Error::not_found("key"))
}
