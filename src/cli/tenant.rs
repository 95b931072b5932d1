//! `cairn tenant`: what an operator does with tenants.

use anyhow::{Context, bail};
use clap::Subcommand;
use comfy_table::{Table, presets};

use crate::cli::Database;
use crate::cli::progress::Progress;
use crate::config::Config;
use crate::db::{Db, Intent};
use crate::embeddings::Embedder;
use crate::erase;
use crate::error::Error;
use crate::http::IfMatch;
use crate::ids::TenantId;
use crate::tenants::{self, Status, Tenant, TenantPatch};
use crate::words::Name;

#[derive(Subcommand)]
pub enum Verb {
    /// Create a tenant for the embedding model of the settings; prints its id.
    Create { name: String },
    /// List all tenants.
    List,
    /// Refuse every call of a tenant, from the next one on.
    Suspend { name: String },
    /// Serve a suspended tenant again.
    Resume { name: String },
    /// Erase a tenant and all it has, for good. Interrupted, it goes on when called again or when a server runs.
    Delete {
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

pub async fn run(verb: Verb, config: &Config) -> anyhow::Result<()> {
    let database = Database::attach(config).await?;
    let outcome = match verb {
        Verb::Create { name } => create(&database, config, &name).await.map(|tenant| println!("{tenant}")),
        Verb::List => list(&database, config).await,
        Verb::Suspend { name } => set_status(&database, config, &name, Status::Suspended).await,
        Verb::Resume { name } => set_status(&database, config, &name, Status::Active).await,
        Verb::Delete { name, yes } => delete(&database, config, &name, yes).await,
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
            tenant.id.to_string(),
            tenant.name,
            format!("{:?}", tenant.status).to_lowercase(),
            tenant.embedding_model,
            tenant.created_at.date().to_string(),
        ]);
    }
    println!("{table}");
    Ok(())
}

async fn set_status(database: &Database, config: &Config, name: &str, status: Status) -> anyhow::Result<()> {
    let db = database.open(config).await?;
    let tenant = named(&db, name).await?;
    tenants::patch(
        db,
        Intent::of_operator(TenantId::OPERATOR),
        tenant.id,
        TenantPatch::status(status),
        IfMatch::default(),
    )
    .await?;
    eprintln!("tenant {name:?} is {}", format!("{status:?}").to_lowercase());
    Ok(())
}

async fn delete(database: &Database, config: &Config, name: &str, yes: bool) -> anyhow::Result<()> {
    let db = database.open(config).await?;
    let tenant = named(&db, name).await?;
    if !yes && !confirmed(name)? {
        bail!("nothing was erased");
    }
    erase::begin(db.clone(), Intent::of_operator(TenantId::OPERATOR), tenant.id, IfMatch::default()).await?;
    let (progress, mut gone) = (Progress::new(erase::count_rows(&db, tenant.id).await?), 0);
    let work = erase::finish(&db, tenant.id, |table, rows| {
        gone += rows as u64;
        progress.at(gone, &format!("{gone} rows gone, now {table}"));
    });
    work.await?;
    progress.end();
    eprintln!("tenant {name:?} ({}) is erased", tenant.id);
    Ok(())
}

async fn named(db: &Db, name: &str) -> anyhow::Result<Tenant> {
    let tenant = tenants::find_by_name(db, name).await?;
    tenant.with_context(|| format!("{name:?}: no such tenant; see `cairn tenant list`"))
}

fn confirmed(name: &str) -> anyhow::Result<bool> {
    eprint!("Erase tenant {name:?} and all its memories, for good? Type its name: ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim_end_matches('\n') == name)
}
