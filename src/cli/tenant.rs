//! `cairn tenant`: what an operator does with tenants.

use std::fmt::Display;
use std::str::FromStr;

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
use crate::tenants::{self, QuotaPatch, Status, Tenant, TenantPatch};
use crate::words::Name;

#[derive(Subcommand)]
pub enum Verb {
    /// Create a tenant for the embedding model of the settings; prints its id.
    Create {
        name: String,
        #[command(flatten)]
        quotas: QuotaArgs,
    },
    /// Set quotas of a tenant, in force from the next call on; those that are not named stay.
    Quota {
        name: String,
        #[command(flatten)]
        quotas: QuotaArgs,
    },
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

/// Each a number, or `none`.
#[derive(clap::Args)]
pub struct QuotaArgs {
    /// Memories at most.
    #[arg(long, value_name = "N|none", value_parser = quantity)]
    memories: Option<Quota<i64>>,
    /// Bytes of content at most.
    #[arg(long, value_name = "N|none", value_parser = quantity)]
    bytes: Option<Quota<i64>>,
    #[arg(long, value_name = "N|none", value_parser = rate)]
    requests_per_second: Option<Quota<i32>>,
    /// Requests under way at the same time.
    #[arg(long, value_name = "N|none", value_parser = rate)]
    concurrent_requests: Option<Quota<i32>>,
    #[arg(long, value_name = "N|none", value_parser = rate)]
    embedding_tokens_per_minute: Option<Quota<i32>>,
}

/// None: no quota.
#[derive(Debug, Clone, Copy)]
struct Quota<T>(Option<T>);

fn quantity(text: &str) -> Result<Quota<i64>, String> {
    parse(text, 0)
}

/// Of requests or tokens: with none at all, a tenant is suspended.
fn rate(text: &str) -> Result<Quota<i32>, String> {
    parse(text, 1)
}

fn parse<T: FromStr + PartialOrd + Display>(text: &str, least: T) -> Result<Quota<T>, String> {
    if text == "none" {
        return Ok(Quota(None));
    }
    let number = text.parse().ok().filter(|number: &T| *number >= least);
    number.map(|number| Quota(Some(number))).ok_or_else(|| format!("must be a whole number from {least}, or none"))
}

impl From<QuotaArgs> for QuotaPatch {
    fn from(args: QuotaArgs) -> Self {
        Self {
            memories: args.memories.map(|quota| quota.0),
            bytes: args.bytes.map(|quota| quota.0),
            requests_per_second: args.requests_per_second.map(|quota| quota.0),
            concurrent_requests: args.concurrent_requests.map(|quota| quota.0),
            embedding_tokens_per_minute: args.embedding_tokens_per_minute.map(|quota| quota.0),
        }
    }
}

pub async fn run(verb: Verb, config: &Config) -> anyhow::Result<()> {
    let database = Database::attach(config).await?;
    let outcome = match verb {
        Verb::Create { name, quotas } => {
            create(&database, config, &name, quotas.into()).await.map(|tenant| println!("{tenant}"))
        }
        Verb::Quota { name, quotas } => set_quotas(&database, config, &name, quotas.into()).await,
        Verb::List => list(&database, config).await,
        Verb::Suspend { name } => set_status(&database, config, &name, Status::Suspended).await,
        Verb::Resume { name } => set_status(&database, config, &name, Status::Active).await,
        Verb::Delete { name, yes } => delete(&database, config, &name, yes).await,
    };
    let closed = database.close().await;
    outcome.and(closed)
}

async fn create(database: &Database, config: &Config, name: &str, quotas: QuotaPatch) -> anyhow::Result<TenantId> {
    let name = Name::parse(name).map_err(Error::from)?;
    let embedder = Embedder::start(config)?;
    let db = database.open(config).await?;
    let tenant = tenants::create(&db, &database.secret_key, &name, embedder.pin()).await?;
    if quotas.names_any() {
        change(db, tenant, TenantPatch::of_quotas(quotas)).await?;
    }
    Ok(tenant)
}

async fn set_quotas(database: &Database, config: &Config, name: &str, quotas: QuotaPatch) -> anyhow::Result<()> {
    if !quotas.names_any() {
        bail!("name a quota to set, as --requests-per-second 100; see `cairn tenant quota --help`");
    }
    let db = database.open(config).await?;
    let tenant = named(&db, name).await?;
    let after = change(db, tenant.id, TenantPatch::of_quotas(quotas)).await?.quotas;
    eprintln!("quotas of tenant {name:?}: {}", serde_json::to_string(&after)?);
    Ok(())
}

async fn change(db: Db, tenant: TenantId, patch: TenantPatch) -> Result<Tenant, Error> {
    tenants::patch(db, Intent::of_operator(TenantId::OPERATOR), tenant, patch, IfMatch::default()).await
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
    change(db, tenant.id, TenantPatch::status(status)).await?;
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
