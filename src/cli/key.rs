//! `cairn key`: API keys for operators. Only a new key goes to standard output, so that scripts can capture it.

use anyhow::Context;
use clap::Subcommand;
use comfy_table::{Table, presets};

use crate::auth::{self, NewKey, Permission, Permissions};
use crate::cli::Database;
use crate::config::Config;
use crate::db::{Db, Intent};
use crate::error::{Code, Error};
use crate::ids::{ExternalId, KeyId, TenantId};
use crate::secrets::SecretKey;
use crate::tenants;
use crate::words::Name;

#[derive(Subcommand)]
pub enum Verb {
    /// Create a key and print it, for the only time.
    Create {
        /// The tenant's name.
        #[arg(long, required_unless_present = "platform")]
        tenant: Option<String>,
        /// A key for the operator: it manages tenants and reads nothing of theirs.
        #[arg(long, conflicts_with_all = ["tenant", "scopes", "agent"])]
        platform: bool,
        #[arg(long, default_value = "cli")]
        name: String,
        /// Scopes separated by commas, or `all`.
        #[arg(long, default_value = "all")]
        scopes: String,
        /// Bind the key to this agent of the tenant.
        #[arg(long)]
        agent: Option<String>,
    },
    /// List a tenant's keys.
    List {
        /// The tenant's name.
        #[arg(long)]
        tenant: String,
    },
    /// Revoke a key at once.
    Revoke {
        /// The part of the key between its second and its third underscore.
        key_id: String,
    },
    /// Sign tokens with a new key from now on. Tokens signed before stay valid until they end.
    RotateSigning {
        /// Refuse tokens signed before, at once.
        #[arg(long)]
        at_once: bool,
    },
}

pub async fn run(verb: Verb, config: &Config) -> anyhow::Result<()> {
    let database = Database::attach(config).await?;
    let outcome = match database.open(config).await {
        Ok(db) => act(verb, &db, &database.secret_key, config).await,
        Err(error) => Err(error),
    };
    let closed = database.close().await;
    outcome.and(closed)
}

async fn act(verb: Verb, db: &Db, seal: &SecretKey, config: &Config) -> anyhow::Result<()> {
    match verb {
        Verb::Create { tenant, platform: _, name, scopes, agent } => {
            let new = NewKey {
                name: Name::parse(&name).map_err(Error::from).context("--name")?,
                scopes: Permissions::parse(&scopes).map_err(Error::from).context("--scopes")?,
                agent_id: agent.map(|id| ExternalId::parse(&id)).transpose().map_err(Error::from).context("--agent")?,
                expires_at: None,
            };
            create(db, tenant.as_deref(), new, config).await
        }
        Verb::List { tenant } => list(db, tenant_of(db, &tenant).await?).await,
        Verb::Revoke { key_id } => {
            let id = KeyId::parse(&key_id).with_context(|| format!("{key_id:?} is no key id; it looks like a UUID"))?;
            let tenant = auth::key_tenant(db, id).await.with_context(|| format!("revoking {key_id}"))?;
            auth::revoke_key(db.clone(), Intent::of_operator(tenant), id, None).await?;
            eprintln!("key {id} is revoked");
            Ok(())
        }
        Verb::RotateSigning { at_once } => {
            let id = auth::rotate_signing(db, seal, at_once).await?;
            let others = if at_once { "are refused" } else { "stay valid until they end" };
            eprintln!("tokens are signed with {id}; those signed before {others}");
            Ok(())
        }
    }
}

/// Without a tenant the key is the operator's.
async fn create(db: &Db, tenant: Option<&str>, new: NewKey, config: &Config) -> anyhow::Result<()> {
    let (id, new, whose) = match tenant {
        Some(name) => (tenant_of(db, name).await?, new, format!("of tenant {name:?}")),
        None => {
            let scopes = [Permission::Platform].into_iter().collect();
            (TenantId::OPERATOR, NewKey { scopes, ..new }, "of the platform".into())
        }
    };
    let issued = auth::create_key(db, id, &config.auth.key_environment, &new).await;
    let issued = issued.map_err(|error| explain(error, new.agent_id))?;
    eprintln!("key {} {whose}; it is shown this once:", issued.key.id);
    println!("{}", issued.key.reveal());
    Ok(())
}

fn explain(error: Error, agent: Option<ExternalId>) -> anyhow::Error {
    match (error.code(), agent) {
        (Code::NotFound, Some(agent)) => {
            anyhow::anyhow!("--agent {agent}: no such agent in this tenant; create it first (PUT /v1/agents/{agent})")
        }
        _ => error.into(),
    }
}

pub(super) async fn tenant_of(db: &Db, name: &str) -> anyhow::Result<TenantId> {
    let tenant = tenants::find_by_name(db, name).await?;
    let tenant = tenant.with_context(|| format!("--tenant {name:?}: no such tenant; see `cairn tenant list`"))?;
    Ok(tenant.id)
}

async fn list(db: &Db, tenant: TenantId) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["id", "name", "scopes", "agent", "created", "state"]);
    for key in auth::list_keys(db, tenant).await? {
        let state = match (key.revoked_at, key.expires_at) {
            (Some(at), _) => format!("revoked {}", at.date()),
            (None, Some(at)) => format!("expires {}", at.date()),
            (None, None) => "live".into(),
        };
        table.add_row([
            key.id.to_string(),
            key.name,
            key.scopes.join(","),
            key.agent_id.unwrap_or_else(|| "(any)".into()),
            key.created_at.date().to_string(),
            state,
        ]);
    }
    println!("{table}");
    Ok(())
}
