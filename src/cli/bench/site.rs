//! Where comparisons are measured: servers in this process over the database of the settings, and tenants of their
//! own in it. Nothing that was there before is read or changed, and nothing is left behind.

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use anyhow::{Context, bail};
use sqlx::postgres::PgConnectOptions;
use tokio::task::JoinHandle;

use crate::app::{App, Places};
use crate::auth::{self, NewKey, Permissions};
use crate::cache::Owner;
use crate::cli::Database;
use crate::cli::bench::generator::Address;
use crate::cli::serve::Signals;
use crate::config::Config;
use crate::db::{self, Intent};
use crate::embeddings::Embedder;
use crate::error::Error;
use crate::http::IfMatch;
use crate::ids::{KeyId, TenantId};
use crate::rates::Budget;
use crate::secrets::SecretKey;
use crate::words::Name;
use crate::{erase, server, tenants};

/// Longer than any run, so that nothing cached expires in the middle of one.
const TTL_SECS: u64 = 86_400;
/// A machine that is busy shall show in how long things take, not in answers that are computed instead.
const REDIS_DEADLINE_MS: u64 = 1_000;

pub struct Site {
    pub instance: Instance,
    /// Where there is a Redis: a second instance, whose every hit comes from there.
    pub beside: Option<Instance>,
    pub tenant: Tenant,
    /// For what one tenant does to another.
    pub other: Tenant,
    /// How to reach the database.
    pub database: PgConnectOptions,
    place: Place,
}

/// What every instance of a site works on.
#[derive(Clone)]
struct Place {
    postgres: PgConnectOptions,
    redis: Option<String>,
    secret_key: SecretKey,
}

/// A server that answers on a port of its own.
pub struct Instance {
    pub app: Arc<App>,
    address: SocketAddr,
    handle: ServerHandle,
    served: JoinHandle<std::io::Result<()>>,
}

/// A tenant that lives as long as a run.
pub struct Tenant {
    pub id: TenantId,
    name: String,
    pub key_id: KeyId,
    /// As callers send it.
    pub key: String,
}

impl Site {
    /// Measures on a new site, and takes it down again whatever comes of it.
    pub async fn with<T>(config: &Config, measure: impl AsyncFnOnce(&Self) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let mut config = config.clone();
        (config.cache.recall_ttl_secs, config.cache.embedding_ttl_secs) = (TTL_SECS, TTL_SECS);
        config.cache.redis_deadline_ms = REDIS_DEADLINE_MS;
        Self::as_configured(&config, measure).await
    }

    /// The same where lifetimes are part of what is measured.
    pub async fn as_configured<T>(
        config: &Config,
        measure: impl AsyncFnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        // From here on, whoever interrupts it must find no tenant left behind, and no Postgres.
        let mut signals = Signals::listen()?;
        let config = config.clone();
        let database = Database::attach(&config).await?;
        let outcome = Self::over(&database, config, &mut signals, measure).await;
        let closed = database.close().await;
        let measured = outcome?;
        closed.map(|()| measured)
    }

    async fn over<T>(
        database: &Database,
        config: Config,
        signals: &mut Signals,
        measure: impl AsyncFnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let site = Self::start(config, database).await?;
        let outcome = tokio::select! {
            measured = measure(&site) => measured,
            _ = signals.next() => Err(anyhow::anyhow!("interrupted")),
        };
        let ended = site.end().await;
        let measured = outcome?;
        ended.map(|()| measured)
    }

    async fn start(config: Config, database: &Database) -> anyhow::Result<Self> {
        if database.embedded.is_some() {
            db::migrate(&database.options).await?;
        }
        let place = Place {
            postgres: database.options.clone(),
            redis: database.redis_url(),
            secret_key: database.secret_key.clone(),
        };
        let instance = Instance::start(config.clone(), &place).await?;
        let beside = match instance.app.cache.redis() {
            Some(_) => Some(Instance::start(without_local_layer(config), &place).await?),
            None => None,
        };
        let (tenant, other) = (Tenant::create(&instance.app).await?, Tenant::create(&instance.app).await?);
        Ok(Self { instance, beside, tenant, other, database: database.options.clone(), place })
    }

    /// Another instance, of other settings; for the caller to stop. It takes no jobs.
    pub async fn instance_with(&self, mut config: Config) -> anyhow::Result<Instance> {
        (config.cache.recall_ttl_secs, config.cache.embedding_ttl_secs) = (TTL_SECS, TTL_SECS);
        config.jobs.enabled = false;
        Instance::start(config, &self.place).await
    }

    pub fn redis_url(&self) -> Option<&str> {
        self.place.redis.as_deref()
    }

    async fn end(self) -> anyhow::Result<()> {
        let erased = self.tenant.erase(&self.instance.app).await.and(self.other.erase(&self.instance.app).await);
        if let Some(beside) = self.beside {
            beside.stop().await?;
        }
        self.instance.stop().await?;
        erased
    }

    /// Whose entries the cache holds.
    pub async fn owner(&self) -> anyhow::Result<Owner> {
        let (db, key) = (self.instance.app.db.clone(), Some(self.tenant.key_id));
        let question = auth::Question { key, ..auth::Question::default() };
        let passage = db.clone().run(async move { auth::pass(db.gate(), &question).await }).await?;
        let passage = passage.context("the gate knows nothing of the key")?;
        Ok(Owner { tenant: passage.tenant_id, secret: passage.cache_secret, budget: Budget::default() })
    }
}

/// The first instance already has its share of the connections that Postgres allows.
fn without_local_layer(mut config: Config) -> Config {
    config.cache.local_mb = 0;
    config.database.write_connections = 1;
    config.database.background_connections = 1;
    config.jobs.enabled = false;
    config.embeddings.threads = 1;
    config
}

impl Instance {
    async fn start(mut config: Config, place: &Place) -> anyhow::Result<Self> {
        config.http.bind = SocketAddr::from(([127, 0, 0, 1], 0));
        config.http.metrics_bind = None;
        let for_model = config.clone();
        let embedder = tokio::task::spawn_blocking(move || Embedder::start(&for_model)).await;
        let embedder = embedder.context("loading the embedding model")??;
        let redis = config.cache.redis_url.clone().or_else(|| place.redis.clone());
        let places = Places { postgres: &place.postgres, redis: redis.as_deref() };
        let app = Arc::new(App::build(config, places, place.secret_key.clone(), embedder).await?);
        let (address, server) = server::start(app.clone())?;
        let handle = server.handle();
        Ok(Self { app, address, handle, served: tokio::spawn(server) })
    }

    /// Where it listens, for a caller with this key.
    pub fn address(&self, key: &str) -> anyhow::Result<Address> {
        Address::new(self.address, key)
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.handle.stop(true).await;
        self.served.await.context("a server ended")??;
        self.app.close().await;
        Ok(())
    }
}

impl Tenant {
    pub async fn create(app: &App) -> anyhow::Result<Self> {
        // Two runs may begin within the same second.
        let name = format!("bench-{}", uuid::Uuid::now_v7());
        let parsed = Name::parse(&name).map_err(Error::from)?;
        let id = tenants::create(&app.db, &app.secret_key, &parsed, app.embedder.pin()).await?;
        let new = NewKey { name: parsed, scopes: Permissions::all(), agent_id: None, expires_at: None };
        let issued = auth::create_key(&app.db, id, &app.config.auth.key_environment, &new).await?;
        Ok(Self { id, name, key_id: issued.key.id, key: issued.key.reveal() })
    }

    /// With all it has.
    pub async fn erase(self, app: &App) -> anyhow::Result<()> {
        let intent = Intent::of_operator(TenantId::OPERATOR);
        erase::begin(app.db.clone(), intent, self.id, IfMatch::default()).await?;
        if let Err(error) = erase::finish(&app.db, self.id, |_, _| {}).await {
            bail!("{error}: `cairn tenant delete {}` removes what is left", self.name);
        }
        Ok(())
    }
}
