//! What tests start and how they talk to it: `TestApp` is a real server over a database of its own,
//! `Client` a caller with a key. Everything ends and is removed when the test drops it.

mod client;
pub mod proxy;
mod spec;

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use cairn::app::{App, Places};
use cairn::auth::{self, NewKey, Permissions};
use cairn::config::{Config, ProviderName};
use cairn::db::Db;
use cairn::embeddings::Embedder;
use cairn::ids::{ExternalId, KeyId, TenantId};
use cairn::secrets::SecretKey;
use cairn::words::Name;
use cairn::{memories, server, tenants};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

pub use crate::support::cluster::Cluster;
pub use crate::support::{provider, runtime_dir};
pub use client::{Answer, Client};

/// A database of a test, dropped with it.
pub struct Database {
    pub cluster: Arc<Cluster>,
    pub name: String,
}

impl Database {
    pub async fn create(cluster: Arc<Cluster>) -> Self {
        let name = cluster.clone_template().await;
        Self { cluster, name }
    }

    /// Logs in as the superuser of the cluster, as an operator would.
    pub fn options(&self) -> PgConnectOptions {
        self.cluster.options().database(&self.name)
    }

    /// A connection that sees everything.
    pub async fn superuser(&self) -> PgConnection {
        self.options().options([("search_path", "cairn,public")]).connect().await.expect("connects")
    }
}

/// A running server.
pub struct TestApp {
    pub app: Arc<App>,
    pub address: SocketAddr,
    pub database: Arc<Database>,
    handle: ServerHandle,
    secret_key: SecretKey,
}

impl TestApp {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With settings other than those of the tests.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(Cluster::shared().await, change).await
    }

    pub async fn start_on(cluster: Arc<Cluster>, change: impl FnOnce(&mut Config)) -> Self {
        let database = Arc::new(Database::create(cluster).await);
        let options = database.options();
        Self::over(database, options, SecretKey::random(), change).await
    }

    /// Another instance over the same database.
    pub async fn sibling(&self) -> Self {
        Self::over(self.database.clone(), self.database.options(), self.secret_key.clone(), |_| {}).await
    }

    /// The same with settings other than those of the tests.
    pub async fn sibling_with(&self, change: impl FnOnce(&mut Config)) -> Self {
        Self::over(self.database.clone(), self.database.options(), self.secret_key.clone(), change).await
    }

    /// Another instance that reaches the database by way of something else.
    pub async fn sibling_through(&self, options: PgConnectOptions, change: impl FnOnce(&mut Config)) -> Self {
        Self::over(self.database.clone(), options, self.secret_key.clone(), change).await
    }

    async fn over(
        database: Arc<Database>,
        options: PgConnectOptions,
        secret_key: SecretKey,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config { runtime_dir: runtime_dir(), ..Config::default() };
        config.embeddings.provider = ProviderName::Hashed;
        config.http.bind = SocketAddr::from(([127, 0, 0, 1], 0));
        config.http.workers = 1;
        config.http.drain_secs = 1;
        // What is a hit and what is not is for most tests to say.
        config.warmups.rewarm = false;
        // What a test sees is what it did itself.
        config.jobs.enabled = false;
        change(&mut config);
        let embedder = Embedder::start(&config).expect("the embedder starts");
        let redis = config.cache.redis_url.clone();
        let places = Places { postgres: &options, redis: redis.as_deref() };
        let app = App::build(config, places, secret_key.clone(), embedder).await.expect("the app starts");
        let app = Arc::new(app);
        let (address, server) = server::start(app.clone()).expect("the server starts");
        let handle = server.handle();
        tokio::spawn(server);
        Self { app, address, database, handle, secret_key }
    }

    pub fn db(&self) -> &Db {
        &self.app.db
    }

    /// Deletes what has expired in a tenant; returns how many memories.
    pub async fn purge_expired(&self, tenant: TenantId, limit: i64) -> u64 {
        let mut tx = self.db().write(tenant).await.expect("begins");
        let (purged, touched) = memories::purge_expired(&mut tx, tenant, limit).await.expect("purges");
        if purged > 0 {
            tx.commit(&touched).await.expect("commits");
        }
        purged
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A new tenant and a client that may do everything in it.
    pub async fn new_tenant(&self) -> Tenant {
        let name = Name::parse(&format!("tenant {}", KeyId::new())).expect("a name");
        let id =
            tenants::create(self.db(), &self.app.secret_key, &name, self.app.embedder.pin()).await.expect("a tenant");
        let key = self.issue(id, "all", None).await;
        Tenant { id, client: Client::new(self.url(), key) }
    }

    /// A key with these permissions.
    pub async fn issue(&self, tenant: TenantId, scopes: &str, agent: Option<&str>) -> String {
        let new = NewKey {
            name: Name::parse("test").expect("a name"),
            scopes: Permissions::parse(scopes).expect("scopes"),
            agent_id: agent.map(|id| ExternalId::parse(id).expect("an id")),
            expires_at: None,
        };
        let issued = auth::create_key(self.db(), tenant, &self.app.config.auth.key_environment, &new).await;
        issued.expect("a key").key.reveal()
    }

    /// A client of this server with such a key.
    pub async fn client(&self, tenant: TenantId, scopes: &str, agent: Option<&str>) -> Client {
        Client::new(self.url(), self.issue(tenant, scopes, agent).await)
    }

    /// Someone without a credential.
    pub fn stranger(&self) -> Client {
        Client::new(self.url(), String::new())
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        let (handle, app) = (self.handle.clone(), self.app.clone());
        tokio::spawn(async move {
            handle.stop(false).await;
            app.close().await;
        });
    }
}

pub struct Tenant {
    pub id: TenantId,
    pub client: Client,
}

impl std::ops::Deref for Tenant {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}
