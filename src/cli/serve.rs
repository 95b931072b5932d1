//! `cairn serve`: start everything in order, serve until a signal, stop everything in reverse.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::App;
use crate::auth::{self, NewKey, Permissions};
use crate::cli::Database;
use crate::cli::attach::write_private;
use crate::config::Config;
use crate::db::{self, Db};
use crate::embeddings::Embedder;
use crate::words::Name;
use crate::{server, tenants};

pub async fn run(config: Config) -> anyhow::Result<()> {
    // From here on a signal waits until it can be heeded in order: a start cut short would leave Postgres running.
    let mut signals = Signals::listen()?;
    let started = Instant::now();
    let database = Database::serve(&config).await?;
    let outcome = serve(config, &database, &mut signals, started).await;
    let closed = database.close().await;
    outcome.and(closed)
}

async fn serve(config: Config, database: &Database, signals: &mut Signals, started: Instant) -> anyhow::Result<()> {
    let for_model = config.clone();
    // The model is read from disk while the database is prepared.
    let embedder = tokio::task::spawn_blocking(move || Embedder::start(&for_model));
    if database.embedded.is_some() {
        db::migrate(&database.options).await?;
    }
    let embedder = embedder.await.context("loading the embedding model")??;
    let app = Arc::new(App::build(config, &database.options, database.secret_key.clone(), embedder).await?);
    if database.embedded.is_some() {
        first_tenant(&app).await?;
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
    signals.stop().await;
    tracing::info!("stopping");
    tokio::select! {
        () = handle.stop(true) => {}
        // A second signal means now.
        () = signals.stop() => handle.stop(false).await,
    }
    served.await.context("the server ended")??;
    app.db.close().await;
    Ok(())
}

/// What asks a server to stop. One that came before anybody waited for it is not lost.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// An embedded installation begins with a tenant and a key of its own, kept in the data folder.
async fn first_tenant(app: &App) -> anyhow::Result<()> {
    let tenant = match tenants::list(&app.db).await?.as_slice() {
        [] => {
            tenants::create(
                &app.db,
                &app.secret_key,
                &Name::parse("default").map_err(crate::error::Error::from)?,
                app.embedder.pin(),
            )
            .await?
        }
        [only] if only.name == "default" => only.id,
        _ => return Ok(()),
    };
    // A start that was cut off between the two left a tenant without a key.
    if !auth::list_keys(&app.db, tenant).await?.is_empty() {
        return Ok(());
    }
    let name = Name::parse("first start").map_err(crate::error::Error::from)?;
    let new = NewKey { name, scopes: Permissions::all(), agent_id: None, expires_at: None };
    let issued = auth::create_key(&app.db, tenant, &app.config.auth.key_environment, &new).await?;
    let path = app.config.data_dir.join("dev-key");
    write_private(&path, &issued.key.reveal())?;
    println!("Your API key, also kept in {}:\n\n    {}\n", path.display(), issued.key.reveal());
    Ok(())
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
