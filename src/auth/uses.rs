//! When keys were last used: noted in memory at every call, written in batches, never by a request.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use time::OffsetDateTime;

use crate::auth::store;
use crate::db::Db;
use crate::error::{Code, Result};
use crate::ids::{KeyId, TenantId};

const EVERY: Duration = Duration::from_secs(30);

/// Uses that are not written yet, by tenant and key.
#[derive(Default)]
pub struct KeyUses(Mutex<HashMap<TenantId, HashMap<KeyId, OffsetDateTime>>>);

impl KeyUses {
    /// Writes what was noted for as long as somebody holds the result.
    pub fn start(db: Db) -> Arc<Self> {
        let uses = Arc::new(Self::default());
        tokio::spawn(keep_written(Arc::downgrade(&uses), db));
        uses
    }

    pub fn note(&self, tenant: TenantId, key: KeyId, at: OffsetDateTime) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.entry(tenant).or_default().insert(key, at);
    }

    /// Writes what was noted since the last time. What cannot be written is dropped: it is only news.
    pub async fn write(&self, db: &Db) {
        let noted = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for (tenant, keys) in noted {
            match write(db, tenant, &keys).await {
                Ok(()) => {}
                // The tenant was erased meanwhile, and its keys with it.
                Err(error) if error.code() == Code::Unauthenticated => {}
                Err(error) => tracing::warn!(%tenant, %error, "writing when keys were used"),
            }
        }
    }
}

async fn write(db: &Db, tenant: TenantId, keys: &HashMap<KeyId, OffsetDateTime>) -> Result<()> {
    let mut tx = db.write(tenant).await?;
    store::update_last_used(&mut tx, tenant, keys).await?;
    tx.commit(&[]).await
}

async fn keep_written(uses: Weak<KeyUses>, db: Db) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(uses) = uses.upgrade() else { return };
        uses.write(&db).await;
    }
}
