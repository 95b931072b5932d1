//! Servers in this process over the database of the settings, and a tenant of their own in it: nothing that was
//! there before is read or changed.

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use anyhow::Context;
use tokio::task::JoinHandle;

use crate::app::App;
use crate::auth::{self, NewKey, Permissions};
use crate::cli::Database;
use crate::cli::bench::recall::http::Address;
use crate::config::Config;
use crate::db::Intent;
use crate::embeddings::Embedder;
use crate::error::Error;
use crate::http::IfMatch;
use crate::ids::{KeyId, TenantId};
use crate::words::Name;
use crate::{erase, server, tenants};

/// A server that answers on a port of its own.
pub struct Instance {
    pub app: Arc<App>,
    address: SocketAddr,
    handle: ServerHandle,
    served: JoinHandle<std::io::Result<()>>,
}

impl Instance {
    pub async fn start(mut config: Config, database: &Database) -> anyhow::Result<Self> {
        config.http.bind = SocketAddr::from(([127, 0, 0, 1], 0));
        config.http.metrics_bind = None;
        let for_model = config.clone();
        let embedder = tokio::task::spawn_blocking(move || Embedder::start(&for_model)).await;
        let embedder = embedder.context("loading the embedding model")??;
        let app = App::build(config, &database.options, database.secret_key.clone(), embedder).await?;
        let app = Arc::new(app);
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
        self.app.db.close().await;
        Ok(())
    }
}

/// A tenant that lives as long as a run.
pub struct Tenant {
    pub id: TenantId,
    pub name: String,
    pub key_id: KeyId,
    /// As callers send it.
    pub key: String,
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
        let erased = erase::finish(&app.db, self.id, |_, _| {}).await;
        erased.with_context(|| format!("`cairn tenant delete {}` removes what is left", self.name))
    }
}
