//! What every use case needs, built once at the start.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use sqlx::postgres::PgConnectOptions;
use tokio::runtime::Handle;

use crate::config::Config;
use crate::db::{Db, self_check};
use crate::embeddings::Embedder;
use crate::secrets::{SecretKey, server_secret};
use crate::telemetry::Metrics;

pub struct App {
    pub config: Config,
    pub db: Db,
    pub embedder: Embedder,
    pub metrics: Metrics,
    /// Seals what Postgres keeps.
    pub secret_key: SecretKey,
    /// Signs the cursors of lists; the same on every instance.
    pub cursor_key: SecretKey,
    stopping: AtomicBool,
}

impl App {
    /// Opens the pools on the current runtime and refuses to go on when isolation would not hold.
    pub async fn build(
        config: Config,
        options: &PgConnectOptions,
        secret_key: SecretKey,
        embedder: Embedder,
    ) -> anyhow::Result<Self> {
        let db = Db::open(&config.database, options, Handle::current());
        self_check(db.background()).await?;
        let cursor_key =
            server_secret(db.background(), &secret_key, "cursor").await.context("reading the cursor key")?;
        let (metrics, stopping) = (Metrics::new()?, AtomicBool::new(false));
        embedder.collectors().into_iter().try_for_each(|collector| metrics.register(collector))?;
        Ok(Self { config, db, embedder, metrics, secret_key, cursor_key, stopping })
    }

    /// From now on it is not ready and lets go of connections as it answers.
    pub fn stop_soon(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
