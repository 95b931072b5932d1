//! What every use case needs, built once at the start.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use sqlx::postgres::PgConnectOptions;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cache::{self, Cache};
use crate::config::Config;
use crate::db::{Db, self_check};
use crate::embeddings::Embedder;
use crate::events::{Bus, relay};
use crate::rates::{self, Rates};
use crate::redis::Redis;
use crate::secrets::{SecretKey, server_secret};
use crate::telemetry::Metrics;

/// How long listeners may take to hear what was published before the end, and others to finish.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

pub struct App {
    pub config: Config,
    pub db: Db,
    pub bus: Bus,
    pub cache: Cache,
    pub embedder: Embedder,
    pub rates: Rates,
    pub metrics: Metrics,
    /// Seals what Postgres keeps.
    pub secret_key: SecretKey,
    /// Signs the cursors of lists; the same on every instance.
    pub cursor_key: SecretKey,
    /// Who listens to the bus, and what else goes on beside requests.
    companions: Mutex<Vec<JoinHandle<()>>>,
    stopping: AtomicBool,
    ended: watch::Sender<bool>,
}

/// The end of the app, as what goes on beside it hears of it.
pub struct Ending(watch::Receiver<bool>);

impl Ending {
    /// Whether it has come.
    pub fn has_come(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits so long, or for the end; whether that came.
    pub async fn within(&mut self, time: Duration) -> bool {
        timeout(time, self.0.wait_for(|ended| *ended)).await.is_ok()
    }
}

/// Where an app finds what it works on.
pub struct Places<'a> {
    pub postgres: &'a PgConnectOptions,
    /// None: the caches live in this process alone.
    pub redis: Option<&'a str>,
}

impl App {
    /// Opens the pools on the current runtime and refuses to go on when isolation would not hold.
    pub async fn build(
        config: Config,
        places: Places<'_>,
        secret_key: SecretKey,
        embedder: Embedder,
    ) -> anyhow::Result<Self> {
        let (runtime, bus) = (Handle::current(), Bus::new()?);
        let db = Db::open(&config.database, places.postgres, runtime.clone(), bus.clone())?;
        self_check(db.background()).await?;
        let cursor_key =
            server_secret(db.background(), &secret_key, "cursor").await.context("reading the cursor key")?;
        let redis = places.redis.filter(|_| config.cache.wants_redis());
        let redis = redis.map(|url| Redis::open(&config.cache, url, runtime.clone())).transpose()?;
        let cache = Cache::open(&config.cache, redis.clone(), &db, &secret_key, runtime.clone())?;
        let rates = Rates::new(&config.rates, &config.cache.prefix, redis.clone())?;
        let embedder = embedder.behind(cache.clone(), rates.clone());
        let of_redis = redis.as_ref().map(Redis::collectors).unwrap_or_default();
        let mut listeners = cache::follow(&cache, &bus, &runtime);
        listeners.extend(redis.map(|redis| relay(&bus, redis, format!("{}events", config.cache.prefix), &runtime)));
        let metrics = Metrics::new(&config.telemetry)?;
        let counted = [embedder.collectors()?, bus.collectors(), cache.stats().collectors(), db.collectors(), of_redis];
        let counted = counted.into_iter().flatten().chain(rates.collectors());
        counted.into_iter().try_for_each(|collector| metrics.register(collector))?;
        let (companions, stopping) = (Mutex::new(listeners), AtomicBool::new(false));
        let ended = watch::Sender::new(false);
        let app = Self {
            config,
            db,
            bus,
            cache,
            embedder,
            rates,
            metrics,
            secret_key,
            cursor_key,
            companions,
            stopping,
            ended,
        };
        app.accompany(|ending| count_instances(app.rates.clone(), ending));
        Ok(app)
    }

    /// Begins work that goes on beside requests; it hears of the end, and the end waits for it.
    pub fn accompany<Work>(&self, work: impl FnOnce(Ending) -> Work)
    where
        Work: Future<Output = ()> + Send + 'static,
    {
        let companion = self.db.runtime().spawn(work(Ending(self.ended.subscribe())));
        self.companions.lock().unwrap_or_else(PoisonError::into_inner).push(companion);
    }

    /// Lets listeners hear what was published, companions finish, and work in the database end.
    pub async fn close(&self) {
        self.bus.close();
        self.ended.send_replace(true);
        let companions = std::mem::take(&mut *self.companions.lock().unwrap_or_else(PoisonError::into_inner));
        if timeout(DRAIN_PATIENCE, join_all(companions)).await.is_err() {
            tracing::warn!("listeners to events or work beside requests did not end within {DRAIN_PATIENCE:?}");
        }
        self.cache.redis().inspect(|redis| redis.close());
        self.db.close().await;
    }

    /// From now on it is not ready and lets go of connections as it answers.
    pub fn stop_soon(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// Whoever shares the limits learns that this instance is there.
async fn count_instances(rates: Rates, mut ending: Ending) {
    loop {
        rates.beat().await;
        if ending.within(rates::BEAT).await {
            return;
        }
    }
}
