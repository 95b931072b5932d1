//! How often circles are recalled from: noted in memory by every recall, cached or not, written in batches.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;

use crate::app::{App, Ending};
use crate::circles::store::recalls;
use crate::db::Db;
use crate::error::{Code, Result};
use crate::ids::{ScopeId, TenantId};

const EVERY: Duration = Duration::from_secs(5);

/// Recalls of a content scope in a minute, which is counted from 1970 by the database's clock.
pub type Counts = HashMap<(ScopeId, i64), i64>;

/// Recalls that are not written yet.
#[derive(Default)]
pub struct RecallCounts(Mutex<HashMap<TenantId, Counts>>);

impl RecallCounts {
    /// Writes what was noted until the app ends, and once more then.
    pub fn start(app: &App) -> Arc<Self> {
        let counts = Arc::new(Self::default());
        let (counting, db) = (counts.clone(), app.db.clone());
        app.accompany(|ending| counting.keep_written(db, ending));
        counts
    }

    /// Each of these scopes was searched, at this moment of the database's clock.
    pub fn note(&self, tenant: TenantId, at: OffsetDateTime, contents: impl IntoIterator<Item = ScopeId>) {
        let minute = at.unix_timestamp().div_euclid(60);
        let mut contents = contents.into_iter().peekable();
        if contents.peek().is_none() {
            return;
        }
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = noted.entry(tenant).or_default();
        contents.for_each(|content| *counts.entry((content, minute)).or_default() += 1);
    }

    /// Writes what was noted since the last time. What cannot be written is dropped: nothing but figures depends on it.
    pub async fn write(&self, db: &Db) {
        let noted = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for (tenant, counts) in noted {
            match write(db, tenant, &counts).await {
                Ok(()) => {}
                // The tenant was erased meanwhile, and its circles with it.
                Err(error) if error.code() == Code::Unauthenticated => {}
                Err(error) => tracing::warn!(%tenant, %error, "writing how often circles are recalled from"),
            }
        }
    }

    async fn keep_written(self: Arc<Self>, db: Db, mut ending: Ending) {
        loop {
            let ended = ending.within(EVERY).await;
            self.write(&db).await;
            if ended {
                return;
            }
        }
    }
}

async fn write(db: &Db, tenant: TenantId, counts: &Counts) -> Result<()> {
    let mut tx = db.write(tenant).await?;
    recalls::add(&mut tx, tenant, counts).await?;
    tx.commit(&[]).await
}
