//! `cairn serve`: start everything in order, serve until a signal, stop everything in reverse.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use anyhow::{Context, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::app::{App, Places};
use crate::cli::{Database, first_start};
use crate::config::Config;
use crate::db::embedded::Stop;
use crate::db::{self, Db};
use crate::embeddings::Embedder;
use crate::{server, tenants};

/// Ends with 0 when a signal was heeded in order, with 128 and its number when a second one cut that short.
pub async fn run(config: Config) -> anyhow::Result<ExitCode> {
    // From here on a signal waits until it can be heeded in order: a start cut short would leave Postgres running.
    let mut signals = Signals::listen()?;
    let started = Instant::now();
    let mut database = Database::serve(&config).await?;
    let serving = match start(config, &database, started).await {
        Ok(serving) => serving,
        Err(error) => {
            database.close().await.ok();
            return Err(error);
        }
    };
    let asked = signals.next().await;
    tracing::info!("stopping");
    let in_order = async {
        let drained = serving.drain(asked).await;
        drained.and(database.stop(Stop::Clean).await)
    };
    tokio::select! {
        stopped = in_order => stopped.map(|()| ExitCode::SUCCESS),
        again = signals.next() => {
            tracing::warn!("a second signal: stopping now");
            database.stop(Stop::Now).await?;
            Ok(ExitCode::from(128_u8.saturating_add(again.as_raw_value() as u8)))
        }
    }
}

/// A server that answers.
struct Serving {
    app: Arc<App>,
    handle: ServerHandle,
    served: JoinHandle<std::io::Result<()>>,
}

async fn start(config: Config, database: &Database, started: Instant) -> anyhow::Result<Serving> {
    let for_model = config.clone();
    // The model is read from disk while the database is prepared.
    let embedder = tokio::task::spawn_blocking(move || Embedder::start(&for_model));
    if database.embedded.is_some() {
        db::migrate(&database.options).await?;
    }
    let embedder = embedder.await.context("loading the embedding model")??;
    let redis = config.cache.redis_url.clone().or_else(|| database.redis_url());
    let places = Places { postgres: &database.options, redis: redis.as_deref() };
    let app = Arc::new(App::build(config, places, database.secret_key.clone(), embedder).await?);
    if database.embedded.is_some() {
        first_start::ensure_tenant(&app).await?;
    }
    check_pins(&app.db, app.embedder.pin()).await?;
    if !app.embedder.is_semantic() {
        tracing::warn!("embeddings are hashed: recall knows words, not meaning; this is for tests");
    }
    let (address, server) = server::start(app.clone())?;
    let handle = server.handle();
    let served = tokio::spawn(server);
    if let Some(metrics) = server::start_metrics(app.clone())? {
        // It holds nothing that needs draining and ends with the process.
        tokio::spawn(metrics);
    }
    tracing::info!(url = format!("http://{address}"), ready_after_ms = started.elapsed().as_millis() as u64, "serving");
    Ok(Serving { app, handle, served })
}

impl Serving {
    /// Says that it is not ready, lets the balancer see that, takes no more connections, answers what was asked.
    async fn drain(self, asked: SignalKind) -> anyhow::Result<()> {
        self.app.stop_soon();
        // Who presses Ctrl-C has no balancer and is waiting.
        if asked == SignalKind::terminate() {
            tokio::time::sleep(Duration::from_secs(self.app.config.http.stop_delay_secs)).await;
        }
        self.handle.stop(true).await;
        self.served.await.context("the server ended")??;
        self.app.close().await;
        Ok(())
    }
}

/// What asks a server to stop. One that came before anybody waited for it is not lost.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn listen() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        }
    }
}

/// A server that cannot read any tenant's vectors is of no use to anyone.
async fn check_pins(db: &Db, pin: &str) -> anyhow::Result<()> {
    let tenants = tenants::list(db).await?;
    let (matching, others): (Vec<_>, Vec<_>) = tenants.iter().partition(|tenant| tenant.embedding_model == pin);
    for tenant in &others {
        tracing::warn!(tenant = %tenant.id, pinned = tenant.embedding_model, running = pin, "this tenant was filled with another embedding model");
    }
    if matching.is_empty()
        && let Some(first) = others.first()
    {
        bail!(
            "configuration: setting embeddings.provider or embeddings.model: this server runs {pin}, but every tenant was filled with another model ({:?} with {})",
            first.name,
            first.embedding_model
        );
    }
    Ok(())
}
