//! What an operator does with tenants, and a tenant with its own settings.

use crate::auth::{self, NewKey, Permissions};
use crate::db::{Db, WriteTx};
use crate::error::{Error, Result};
use crate::http::IfMatch;
use crate::ids::{ScopeId, TenantId};
use crate::secrets::SecretKey;
use crate::tenants::model::{NewTenant, SettingsPatch, Tenant, TenantPatch, Usage, check_not_erasing};
use crate::tenants::{Settings, Status, store};
use crate::words::Name;

/// What every new tenant is made with.
#[derive(Clone)]
pub struct Founding {
    pub seal: SecretKey,
    /// The embedding model it is pinned to, for good.
    pub embedding_pin: String,
    pub key_environment: String,
}

/// A tenant just made, and its first key, which is shown this once.
pub struct Founded {
    pub tenant: Tenant,
    pub api_key: String,
}

/// Creates a tenant with a first key, both or none.
pub async fn found(db: Db, founding: Founding, new: NewTenant) -> Result<Founded> {
    let id = TenantId::new();
    let mut tx = db.write_alone(id).await?;
    insert(&mut tx, &founding.seal, id, &new.name, &founding.embedding_pin).await?;
    if new.quotas.any() {
        store::update(&mut tx, id, Status::Active, new.quotas).await?;
        store::insert_totals(&mut tx, id, Usage { agents: 0, memories: 0, bytes: 0 }).await?;
    }
    let key = first_key()?;
    let key = auth::insert_key(&mut tx, id, &founding.key_environment, &key).await?;
    let tenant = store::find(&mut tx, id).await?.ok_or_else(|| Error::not_found("tenant"))?;
    tx.commit(&[]).await?;
    Ok(Founded { tenant, api_key: key.reveal() })
}

fn first_key() -> Result<NewKey> {
    Ok(NewKey { name: Name::parse("first key")?, scopes: Permissions::all(), agent_id: None, expires_at: None })
}

/// Creates a tenant without a key.
pub async fn create(db: &Db, seal: &SecretKey, name: &Name, embedding_pin: &str) -> Result<TenantId> {
    let tenant = TenantId::new();
    let mut tx = db.write_alone(tenant).await?;
    insert(&mut tx, seal, tenant, name, embedding_pin).await?;
    tx.commit(&[]).await?;
    Ok(tenant)
}

async fn insert(tx: &mut WriteTx, seal: &SecretKey, tenant: TenantId, name: &Name, embedding_pin: &str) -> Result<()> {
    // The purpose names the tenant, so that one tenant's secret cannot be moved to another.
    let cache_secret = seal.seal(&format!("cache:{tenant}"), SecretKey::random().bytes())?;
    store::insert(tx, tenant, name, ScopeId::random(), embedding_pin).await?;
    store::insert_secret(tx, tenant, "cache", &cache_secret).await
}

/// Changes status or quotas. No writer of the tenant is under way meanwhile, so that what a new quota is held against
/// is exactly what is there.
pub async fn patch(db: Db, tenant: TenantId, patch: TenantPatch, condition: IfMatch) -> Result<Tenant> {
    let mut tx = db.write_alone(tenant).await?;
    let before = store::find_for_update(&mut tx, tenant).await?.ok_or_else(|| Error::not_found("tenant"))?;
    condition.check(before.etag())?;
    check_not_erasing(&before)?;
    let (status, quotas) = (patch.status.unwrap_or(before.status), patch.quotas(before.quotas));
    if quotas.any() && !before.quotas.any() {
        let usage = store::count(&mut tx, tenant).await?;
        store::insert_totals(&mut tx, tenant, usage).await?;
    } else if !quotas.any() {
        store::delete_totals(&mut tx, tenant).await?;
    }
    if (status, quotas) == (before.status, before.quotas) {
        return Ok(before);
    }
    store::update(&mut tx, tenant, status, quotas).await?;
    let after = store::find(&mut tx, tenant).await?.ok_or_else(|| Error::not_found("tenant"))?;
    tx.commit(&[]).await?;
    Ok(after)
}

/// What a tenant sees of itself.
pub struct Own {
    pub tenant: Tenant,
    pub settings: Settings,
    pub usage: Usage,
}

pub async fn own(db: Db, tenant: TenantId) -> Result<Own> {
    let mut conn = db.read(tenant).await?;
    let settings = store::find_settings(&mut conn, tenant).await?.ok_or_else(|| Error::not_found("tenant"))?;
    let usage = store::count(&mut conn, tenant).await?;
    let tenant = store::find(&mut conn, tenant).await?.ok_or_else(|| Error::not_found("tenant"))?;
    Ok(Own { tenant, settings, usage })
}

pub async fn patch_settings(db: Db, tenant: TenantId, patch: SettingsPatch, condition: IfMatch) -> Result<Own> {
    let mut tx = db.write(tenant).await?;
    let before = store::find_for_update(&mut tx, tenant).await?.ok_or_else(|| Error::not_found("tenant"))?;
    condition.check(before.etag())?;
    let settings = store::find_settings(&mut tx, tenant).await?.ok_or_else(|| Error::not_found("tenant"))?;
    let wanted = patch.apply(&settings);
    if wanted != settings {
        store::update_settings(&mut tx, tenant, &wanted).await?;
        tx.commit(&[]).await?;
    } else {
        drop(tx);
    }
    own(db, tenant).await
}

pub async fn list(db: &Db) -> Result<Vec<Tenant>> {
    store::list(db.background(), None, i64::MAX).await
}

pub async fn find_by_name(db: &Db, name: &str) -> Result<Option<Tenant>> {
    Ok(list(db).await?.into_iter().find(|tenant| tenant.name == name))
}
