//! `cairn tenant`: what an operator does with tenants.

use clap::Subcommand;
use comfy_table::{Table, presets};

use crate::cli::Database;
use crate::config::Config;
use crate::embeddings::Embedder;
use crate::error::Error;
use crate::ids::TenantId;
use crate::tenants;
use crate::words::Name;

#[derive(Subcommand)]
pub enum Verb {
    /// Create a tenant for the embedding model of the settings; prints its id.
    Create { name: String },
    /// List all tenants.
    List,
}

pub async fn run(verb: Verb, config: &Config) -> anyhow::Result<()> {
    let database = Database::attach(config).await?;
    let outcome = match verb {
        Verb::Create { name } => create(&database, config, &name).await.map(|tenant| println!("{tenant}")),
        Verb::List => list(&database, config).await,
    };
    let closed = database.close().await;
    outcome.and(closed)
}

async fn create(database: &Database, config: &Config, name: &str) -> anyhow::Result<TenantId> {
    let name = Name::parse(name).map_err(Error::from)?;
    let embedder = Embedder::start(config)?;
    let db = database.open(config).await?;
    Ok(tenants::create(&db, &database.secret_key, &name, embedder.pin()).await?)
}

async fn list(database: &Database, config: &Config) -> anyhow::Result<()> {
    let db = database.open(config).await?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["id", "name", "status", "embeddings", "created"]);
    for tenant in tenants::list(&db).await? {
        table.add_row([
            tenant.tenant_id.to_string(),
            tenant.name,
            tenant.status,
            tenant.embedding_pin,
            tenant.created_at.date().to_string(),
        ]);
    }
    println!("{table}");
    Ok(())
}
