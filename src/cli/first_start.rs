//! An embedded installation begins with a tenant and a key of its own, kept in the data folder.

use std::fs;
use std::path::Path;

use crate::app::App;
use crate::auth::{self, NewKey, Permissions, PlainKey};
use crate::cli::attach::write_private;
use crate::error::{Error, Result};
use crate::ids::TenantId;
use crate::tenants;
use crate::words::Name;

const TENANT: &str = "default";

/// Makes the first tenant and its key, or what a start that was cut off left out of it.
pub async fn ensure_tenant(app: &App) -> anyhow::Result<()> {
    let tenant = match tenants::list(&app.db).await?.as_slice() {
        [] => tenants::create(&app.db, &app.secret_key, &name(TENANT)?, app.embedder.pin()).await?,
        [only] if only.name == TENANT => only.id,
        _ => return Ok(()),
    };
    if auth::list_keys(&app.db, tenant).await?.is_empty() {
        first_key(app, tenant).await?;
    }
    Ok(())
}

/// The file comes first: a key that Postgres knows but nobody can read would be lost, one that was only
/// written down is taken up by the next start.
async fn first_key(app: &App, tenant: TenantId) -> anyhow::Result<()> {
    let path = app.config.data_dir.join("dev-key");
    let key = match kept_key(&path, &app.config.auth.key_environment) {
        Some(key) => key,
        None => {
            let key = PlainKey::generate(&app.config.auth.key_environment);
            write_private(&path, &key.reveal())?;
            key
        }
    };
    let new = NewKey { name: name("first start")?, scopes: Permissions::all(), agent_id: None, expires_at: None };
    let issued = auth::register_key(&app.db, tenant, key, &new).await?;
    println!("Your API key, also kept in {}:\n\n    {}\n", path.display(), issued.key.reveal());
    Ok(())
}

fn kept_key(path: &Path, environment: &str) -> Option<PlainKey> {
    PlainKey::parse(fs::read_to_string(path).ok()?.trim(), environment)
}

fn name(text: &str) -> Result<Name> {
    Name::parse(text).map_err(Error::from)
}
