//! What recalls note, in memory, and the caches count; written every few seconds, never by a request. A kill loses
//! what was not written yet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::app::{App, Ending};
use crate::cache::Cache;
use crate::db::Db;
use crate::error::{Code, Error};
use crate::ids::TenantId;
use crate::secrets::SecretKey;
use crate::usage::Recalled;
use crate::usage::model::{Noted, Tally};
use crate::usage::service::write;

/// Recalls at the same moment seldom meet in one of them.
const SHARDS: usize = 16;
/// Tenants whose writing fails, after which the rest waits for the next time.
const FAILURES: usize = 3;
/// Tenants whose counts are kept for the next time.
const TENANTS: usize = 10_000;

type Shard = Mutex<HashMap<TenantId, Noted>>;

pub struct Recorder {
    enabled: bool,
    shards: [Shard; SHARDS],
    /// Gathered, and not written yet.
    pending: tokio::sync::Mutex<HashMap<TenantId, Tally>>,
    failing: AtomicBool,
    cache: Cache,
    seal: SecretKey,
}

impl Recorder {
    /// Writes what was counted until the app ends, and once more then.
    pub fn start(app: &App) -> Arc<Self> {
        let recorder = Arc::new(Self {
            enabled: app.config.usage.enabled,
            shards: Default::default(),
            pending: tokio::sync::Mutex::default(),
            failing: AtomicBool::new(false),
            cache: app.cache.clone(),
            seal: app.secret_key.clone(),
        });
        if recorder.enabled {
            let every = Duration::from_secs(app.config.usage.write_secs);
            let (recording, db) = (recorder.clone(), app.db.clone());
            app.accompany(|ending| recording.keep_written(db, every, ending));
        }
        recorder
    }

    /// A recall was answered. `request` is asked for once in a while, and answers only where it may be kept.
    pub fn note(&self, recall: &Recalled, request: impl FnOnce() -> Option<Vec<u8>>) {
        if !self.enabled {
            return;
        }
        let shard = recall.digest.map_or(0, |digest| usize::from(digest.bytes()[0]) % SHARDS);
        let mut noted = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        noted.entry(recall.tenant).or_default().note(recall, request);
    }

    /// Writes what was counted since the last time, and what could not be written then.
    pub async fn write(&self, db: &Db) {
        let mut pending = self.pending.lock().await;
        self.gather(&mut pending);
        let (tenants, mut failures) = (pending.keys().copied().collect::<Vec<_>>(), 0);
        for tenant in tenants {
            let Some(tally) = pending.get(&tenant) else { continue };
            match write::write(db, tenant, tally, &self.seal).await {
                Ok(()) => {}
                // The tenant was erased meanwhile, and its counts with it.
                Err(error) if error.code() == Code::Unauthenticated => {}
                Err(error) => {
                    self.tell(Some(&error), tenant);
                    failures += 1;
                    if failures >= FAILURES {
                        return;
                    }
                    continue;
                }
            }
            pending.remove(&tenant);
            self.tell(None, tenant);
        }
    }

    /// One line when it begins to fail, and one when it does no more.
    fn tell(&self, error: Option<&Error>, tenant: TenantId) {
        match (error, self.failing.swap(error.is_some(), Ordering::Relaxed)) {
            (Some(error), false) => tracing::warn!(%tenant, %error, "usage cannot be written: it is kept for later"),
            (None, true) => tracing::info!("usage is written again"),
            _ => {}
        }
    }

    fn gather(&self, pending: &mut HashMap<TenantId, Tally>) {
        for (tenant, stats) in self.cache.stats().all() {
            if pending.len() >= TENANTS && !pending.contains_key(&tenant) {
                continue;
            }
            let (kinds, invalidated) = (stats.take(), stats.take_invalidated());
            if !kinds.is_empty() || !invalidated.is_empty() {
                pending.entry(tenant).or_default().add_caches(&kinds, invalidated);
            }
        }
        for shard in &self.shards {
            let noted = std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner));
            for (tenant, noted) in noted {
                if pending.len() < TENANTS || pending.contains_key(&tenant) {
                    pending.entry(tenant).or_default().add_noted(noted);
                }
            }
        }
    }

    async fn keep_written(self: Arc<Self>, db: Db, every: Duration, mut ending: Ending) {
        loop {
            let ended = ending.within(every).await;
            self.write(&db).await;
            if ended {
                return;
            }
        }
    }
}
