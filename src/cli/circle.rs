//! `cairn circle`: what an operator does with circles, above all with one whose owner is gone.

use anyhow::Context;
use clap::Subcommand;
use comfy_table::{Table, presets};

use crate::circles;
use crate::cli::Database;
use crate::cli::key::tenant_of;
use crate::config::Config;
use crate::db::Db;
use crate::error::Error;
use crate::ids::{ExternalId, TenantId};

#[derive(Subcommand)]
pub enum Verb {
    /// List a tenant's circles with their owners.
    List {
        /// The tenant's name.
        #[arg(long)]
        tenant: String,
    },
    /// List the members of a circle.
    Members {
        circle: String,
        /// The tenant's name.
        #[arg(long)]
        tenant: String,
    },
    /// Make an agent the only owner of a circle, from the very next call on. The owners before it become editors.
    Transfer {
        circle: String,
        /// The agent that is to own it; it becomes a member if it is none.
        #[arg(long, value_name = "AGENT")]
        to: String,
        /// The tenant's name.
        #[arg(long)]
        tenant: String,
    },
}

pub async fn run(verb: Verb, config: &Config) -> anyhow::Result<()> {
    let database = Database::attach(config).await?;
    let outcome = match database.open(config).await {
        Ok(db) => act(verb, &db).await,
        Err(error) => Err(error),
    };
    let closed = database.close().await;
    outcome.and(closed)
}

async fn act(verb: Verb, db: &Db) -> anyhow::Result<()> {
    match verb {
        Verb::List { tenant } => list(db, tenant_of(db, &tenant).await?).await,
        Verb::Members { circle, tenant } => members(db, tenant_of(db, &tenant).await?, &circle).await,
        Verb::Transfer { circle, to, tenant } => transfer(db, tenant_of(db, &tenant).await?, &circle, &to).await,
    }
}

async fn list(db: &Db, tenant: TenantId) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["circle", "name", "members", "owners", "created"]);
    for circle in circles::overview(db, tenant).await? {
        table.add_row([
            circle.circle_id.to_string(),
            circle.name.as_str().to_owned(),
            circle.members.to_string(),
            circle.owners.join(", "),
            circle.created_at.date().to_string(),
        ]);
    }
    println!("{table}");
    Ok(())
}

async fn members(db: &Db, tenant: TenantId, circle: &str) -> anyhow::Result<()> {
    let id = ExternalId::parse(circle).map_err(Error::from)?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["agent", "role", "joined"]);
    for member in circles::list_members(db, tenant, &id).await.with_context(|| named(circle))? {
        table.add_row([member.agent_id.to_string(), member.role.name().into(), member.joined_at.date().to_string()]);
    }
    println!("{table}");
    Ok(())
}

async fn transfer(db: &Db, tenant: TenantId, circle: &str, to: &str) -> anyhow::Result<()> {
    let id = ExternalId::parse(circle).map_err(Error::from)?;
    let agent = ExternalId::parse(to).map_err(Error::from).context("--to")?;
    let before =
        circles::transfer(db, tenant, &id, &agent).await.with_context(|| format!("{} to {to}", named(circle)))?;
    let before: Vec<String> = before.iter().map(ExternalId::to_string).collect();
    let editors = if before.is_empty() { String::new() } else { format!("; now editors: {}", before.join(", ")) };
    eprintln!("{to} owns circle {circle}{editors}");
    Ok(())
}

fn named(circle: &str) -> String {
    format!("circle {circle:?} (see `cairn circle list`)")
}
