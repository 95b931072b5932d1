//! What an operator does with tenants, and a tenant with its own settings.

use uuid::Uuid;

use crate::auth::{self, NewKey, Permissions};
use crate::db::{Db, Intent, TenantConn, WriteTx};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::http::IfMatch;
use crate::ids::{ScopeId, TenantId};
use crate::secrets::SecretKey;
use crate::tenants::model::{NewTenant, OwnUsage, SettingsPatch, Tenant, TenantPatch, Usage, check_not_erasing};
use crate::tenants::{Quotas, Settings, Status, store};
use crate::usage::{self, Stored};
use crate::words::Name;

/// Memories that are counted one by one when somebody asks: about a second's work.
const COUNTED_AT_ONCE: i64 = 500_000;

/// How many days are told apart, today included.
const DAYS: i64 = 30;

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
    /// None where the answer is a replay.
    pub api_key: Option<String>,
}

/// Creates a tenant with a first key, both or none.
pub async fn found(db: Db, intent: Intent, founding: Founding, new: NewTenant) -> Result<Founded> {
    let mut tx = db.write(intent.tenant).await?;
    if let Some(id) = tx.claim::<Uuid>(&intent.once).await? {
        let tenant = find_again(&db, TenantId::from_uuid(id)).await?;
        return Ok(Founded { tenant, api_key: None });
    }
    let id = TenantId::new();
    tx.enter_alone(id).await?;
    insert(&mut tx, &founding.seal, id, &new.name, &founding.embedding_pin).await?;
    if new.quotas.any() {
        store::update(&mut tx, id, Status::Active, new.quotas).await?;
    }
    if new.quotas.of_storage() {
        store::insert_totals(&mut tx, id, Usage { agents: 0, memories: 0, bytes: 0 }).await?;
    }
    let key = auth::insert_key(&mut tx, id, &founding.key_environment, &first_key()?).await?;
    let tenant = store::find(&mut tx, id).await?.ok_or_else(|| Error::not_found("tenant"))?;
    tx.leave().await?;
    tx.record(&id.uuid()).await?;
    tx.commit(&[]).await?;
    Ok(Founded { tenant, api_key: Some(key.reveal()) })
}

fn first_key() -> Result<NewKey> {
    Ok(NewKey { name: Name::parse("first key")?, scopes: Permissions::all(), agent_id: None, expires_at: None })
}

/// What an earlier sending of the same write left.
async fn find_again(db: &Db, tenant: TenantId) -> Result<Tenant> {
    store::find(&mut db.read(tenant).await?, tenant).await?.ok_or_else(|| Error::gone("tenant"))
}

/// Creates a tenant without a key.
pub async fn create(db: &Db, seal: &SecretKey, name: &Name, embedding_pin: &str) -> Result<TenantId> {
    let tenant = TenantId::new();
    let mut tx = db.write(TenantId::OPERATOR).await?;
    tx.enter_alone(tenant).await?;
    insert(&mut tx, seal, tenant, name, embedding_pin).await?;
    tx.commit(&[]).await?;
    Ok(tenant)
}

/// The purpose that the cache secret is sealed for. It names the tenant, so that one tenant's secret cannot be moved
/// to another.
pub fn cache_secret_purpose(tenant: TenantId) -> String {
    format!("cache:{tenant}")
}

async fn insert(tx: &mut WriteTx, seal: &SecretKey, tenant: TenantId, name: &Name, embedding_pin: &str) -> Result<()> {
    let cache_secret = seal.seal(&cache_secret_purpose(tenant), SecretKey::random().bytes())?;
    store::insert(tx, tenant, name, ScopeId::random(), embedding_pin).await?;
    store::insert_secret(tx, tenant, "cache", &cache_secret).await?;
    tx.announce(Event::TenantCreated);
    Ok(())
}

/// Changes status or quotas. No writer of the tenant is under way meanwhile, so that what a new quota is held against
/// is exactly what is there.
pub async fn patch(db: Db, intent: Intent, tenant: TenantId, patch: TenantPatch, condition: IfMatch) -> Result<Tenant> {
    let mut tx = db.write(intent.tenant).await?;
    if let Some(()) = tx.claim(&intent.once).await? {
        return find_again(&db, tenant).await;
    }
    tx.enter_alone(tenant).await?;
    let before = store::find_for_update(&mut tx, tenant).await?.ok_or_else(|| Error::not_found("tenant"))?;
    condition.check(before.etag())?;
    check_not_erasing(&before)?;
    let (status, quotas) = (patch.status.unwrap_or(before.status), patch.quotas(before.quotas));
    if (status, quotas) != (before.status, before.quotas) {
        keep_totals(&mut tx, tenant, before.quotas, quotas).await?;
        store::update(&mut tx, tenant, status, quotas).await?;
        tx.announce(Event::TenantUpdated);
    }
    let after = store::find(&mut tx, tenant).await?.ok_or_else(|| Error::not_found("tenant"))?;
    tx.leave().await?;
    tx.record(&()).await?;
    tx.commit(&[]).await?;
    Ok(after)
}

/// Totals are kept while a quota is in force, from the moment it comes into force.
async fn keep_totals(tx: &mut WriteTx, tenant: TenantId, before: Quotas, after: Quotas) -> Result<()> {
    match (before.of_storage(), after.of_storage()) {
        (_, false) => store::delete_totals(tx, tenant).await,
        // Counted anew at every change: an older version beside this one writes without counting.
        (_, true) => {
            let usage = store::count(tx, tenant).await?;
            store::insert_totals(tx, tenant, usage).await
        }
    }
}

/// What a tenant sees of itself.
pub struct Own {
    pub tenant: Tenant,
    pub settings: Settings,
    pub usage: OwnUsage,
}

pub async fn own(db: Db, tenant: TenantId) -> Result<Own> {
    let mut conn = db.read(tenant).await?;
    let settings = store::find_settings(&mut conn, tenant).await?.ok_or_else(|| Error::not_found("tenant"))?;
    let usage = own_usage(&mut conn, tenant).await?;
    let tenant = store::find(&mut conn, tenant).await?.ok_or_else(|| Error::not_found("tenant"))?;
    Ok(Own { tenant, settings, usage })
}

async fn own_usage(conn: &mut TenantConn, tenant: TenantId) -> Result<OwnUsage> {
    let by_day = usage::days(conn, tenant, DAYS).await?;
    let Stored { agents, memories, bytes, counted_at } = stored(conn, tenant).await?;
    Ok(OwnUsage { stored: Usage { agents, memories, bytes }, counted_at, by_day })
}

/// By the totals, where a quota keeps some. Of a tenant with very many memories as of the end of a day: counting them
/// takes longer than anybody wants to wait.
async fn stored(conn: &mut TenantConn, tenant: TenantId) -> Result<Stored> {
    if let Some(totals) = usage::find_totals(conn, tenant).await? {
        return Ok(totals);
    }
    let last = usage::last_stored(conn, tenant).await?;
    match last.filter(|last| last.memories > COUNTED_AT_ONCE) {
        Some(last) => Ok(last),
        None => usage::count(conn, tenant).await,
    }
}

pub async fn patch_settings(db: Db, intent: Intent, patch: SettingsPatch, condition: IfMatch) -> Result<Own> {
    let tenant = intent.tenant;
    let mut tx = db.write(tenant).await?;
    if let Some(()) = tx.claim(&intent.once).await? {
        return own(db, tenant).await;
    }
    let before = store::find_for_update(&mut tx, tenant).await?.ok_or_else(|| Error::not_found("tenant"))?;
    condition.check(before.etag())?;
    let settings = store::find_settings(&mut tx, tenant).await?.ok_or_else(|| Error::not_found("tenant"))?;
    let wanted = patch.apply(&settings);
    if wanted != settings {
        store::update_settings(&mut tx, tenant, &wanted).await?;
        if settings.keep_queries && !wanted.keep_queries {
            usage::forget_texts(&mut tx, tenant, None).await?;
        }
        tx.announce(Event::TenantUpdated);
    }
    tx.record(&()).await?;
    tx.commit(&[]).await?;
    own(db, tenant).await
}

pub async fn list(db: &Db) -> Result<Vec<Tenant>> {
    store::list(db.background(), None, i64::MAX).await
}

pub async fn find_by_name(db: &Db, name: &str) -> Result<Option<Tenant>> {
    Ok(list(db).await?.into_iter().find(|tenant| tenant.name == name))
}
