//! The secret of a tenant, with which its entries are named and sealed. Whoever reads Redis learns nothing, and no
//! tenant can find out what another one has cached. A new version of the secret, or its end, makes all entries
//! worthless at once.

use std::sync::Arc;

use anyhow::Context;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use moka::sync::Cache;
use rand::RngExt;
use sha2::Sha256;

use crate::cache::key::{Digest, Key};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::TenantId;
use crate::rates::Budget;
use crate::secrets::SecretKey;

pub(super) const NONCE_BYTES: usize = 24;

/// Secrets that are kept open, so that a hit need not ask the database for one.
const OPEN_SECRETS: u64 = 10_000;

/// Whose entries: the tenant, and the version of its secret that is in force, as the gate says. Without one,
/// nothing is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    pub tenant: TenantId,
    pub secret: Option<i32>,
    /// What it may spend on what has to be embedded.
    pub budget: Budget,
}

/// An opened secret.
pub struct Vault {
    name: Hmac<Sha256>,
    seal: XChaCha20Poly1305,
}

impl Vault {
    pub fn of(secret: &SecretKey) -> anyhow::Result<Self> {
        let (name, seal) = (secret.derive("cache name")?, secret.derive("cache seal")?);
        Ok(Self {
            name: <Hmac<Sha256> as KeyInit>::new_from_slice(name.bytes()).context("an HMAC key may have any length")?,
            seal: XChaCha20Poly1305::new_from_slice(seal.bytes()).context("the key has 32 bytes")?,
        })
    }

    pub fn digest<K: Key>(&self, key: &K, namespace: &str) -> Digest {
        let mut mac = self.name.clone();
        for part in [K::KIND.name().as_bytes(), namespace.as_bytes(), key.identity()] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        let whole = mac.finalize().into_bytes();
        let mut digest = [0; 24];
        digest.copy_from_slice(&whole[..24]);
        Digest(digest)
    }

    /// XChaCha20-Poly1305, the nonce in front. The name of the entry is authenticated with it: what lies under
    /// another name does not open.
    pub fn seal(&self, name: &str, plain: &[u8]) -> Option<Vec<u8>> {
        let nonce: [u8; NONCE_BYTES] = rand::rng().random();
        let payload = Payload { msg: plain, aad: name.as_bytes() };
        let sealed = self.seal.encrypt(&XNonce::from(nonce), payload).ok()?;
        Some([nonce.as_slice(), &sealed].concat())
    }

    pub fn open(&self, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: sealed, aad: name.as_bytes() };
        self.seal.decrypt(&XNonce::from(*nonce), payload).ok()
    }
}

/// The secrets of all tenants, opened when they are first needed.
pub(super) struct Vaults {
    db: Db,
    operator: SecretKey,
    open: Cache<(TenantId, i32), Arc<Vault>>,
}

impl Vaults {
    pub fn new(db: Db, operator: SecretKey) -> Self {
        Self { db, operator, open: Cache::new(OPEN_SECRETS) }
    }

    /// None where the tenant has no such secret any more, or it cannot be read now.
    pub async fn of(&self, owner: &Owner) -> Option<Arc<Vault>> {
        let (tenant, version) = (owner.tenant, owner.secret?);
        if let Some(vault) = self.open.get(&(tenant, version)) {
            return Some(vault);
        }
        match self.read(tenant, version).await {
            Ok(Some(vault)) => {
                let vault = Arc::new(vault);
                self.open.insert((tenant, version), vault.clone());
                Some(vault)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(%tenant, cause = format!("{error:#}"), "a tenant's cache secret cannot be read: not caching");
                None
            }
        }
    }

    /// Of a tenant that is gone.
    pub fn forget(&self, tenant: TenantId) {
        for (key, _) in self.open.iter().filter(|(key, _)| key.0 == tenant) {
            self.open.invalidate(&*key);
        }
    }

    async fn read(&self, tenant: TenantId, version: i32) -> anyhow::Result<Option<Vault>> {
        let db = self.db.clone();
        let sealed: Result<Option<Vec<u8>>> = self
            .db
            .run(async move {
                let sealed = sqlx::query_scalar(
                    "SELECT sealed FROM tenant_secrets WHERE tenant_id = $1 AND purpose = 'cache' AND version = $2",
                );
                let mut conn = db.read(tenant).await?;
                sealed.bind(tenant).bind(version).fetch_optional(&mut *conn).await.map_err(Error::from)
            })
            .await;
        let Some(sealed) = sealed? else {
            return Ok(None);
        };
        let secret = self.operator.open(&format!("cache:{tenant}"), &sealed)?;
        Vault::of(&SecretKey::from_bytes(&secret)?).map(Some)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn vault(secret: u8) -> Vault {
        Vault::of(&SecretKey::from_bytes(&[secret; 32]).expect("32 bytes")).expect("a vault")
    }
}
