//! Erasing a tenant: marked in one transaction, from which on the gate refuses it; then deleted in
//! batches, each with its count in the receipt, so that a crash at any moment loses no row of either.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::db::{Db, Intent};
use crate::erase::model::TABLES;
use crate::erase::{TenantReceipt, store};
use crate::error::{Code, Error, Result};
use crate::events::Event;
use crate::http::IfMatch;
use crate::ids::TenantId;
use crate::tenants::{self, Status};

const ROWS_A_BATCH: i64 = 500;

/// Batches that may fail in a row, and how long the pause after the first of them is.
const MOST_FAILURES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);
/// How often an instance looks for erasures that another one left unfinished.
const EVERY: Duration = Duration::from_secs(30);

/// Marks the tenant as erasing. No write of the tenant is under way then, and none begins any more.
pub async fn begin(db: Db, intent: Intent, tenant: TenantId, condition: IfMatch) -> Result<TenantReceipt> {
    let mut tx = db.write(intent.tenant).await?;
    if tx.claim::<()>(&intent.once).await?.is_none() {
        tx.enter_alone(tenant).await?;
        if let Some(found) = tenants::find_for_update(&mut tx, tenant).await? {
            condition.check(found.etag())?;
            if found.status != Status::Erasing {
                store::insert(&mut tx, tenant, &intent.principal).await?;
                tenants::update(&mut tx, tenant, Status::Erasing, found.quotas).await?;
                // What its cached answers were sealed with: they are worthless from here on.
                store::delete(&mut tx, tenant, "tenant_secrets", i64::MAX).await?;
                tx.announce(Event::TenantErased);
            }
        }
        tx.leave().await?;
        tx.record(&()).await?;
        if store::exists(&mut tx, tenant).await? {
            tx.commit(&[]).await?;
        }
    }
    store::find(db.background(), tenant).await?.ok_or_else(|| Error::not_found("tenant"))
}

/// How many rows a tenant has in all.
pub async fn count_rows(db: &Db, tenant: TenantId) -> Result<u64> {
    let mut conn = db.read(tenant).await?;
    let mut rows = 0;
    for table in TABLES {
        rows += store::count(&mut conn, tenant, table).await?;
    }
    Ok(rows as u64)
}

/// Deletes what is left of a tenant that was marked. Any number may do so at once; `progress` hears of every batch.
pub async fn finish(db: &Db, tenant: TenantId, mut progress: impl FnMut(&'static str, i64)) -> Result<()> {
    loop {
        let mut gone = 0;
        for table in TABLES {
            gone += delete_all(db, tenant, table, &mut progress).await?;
        }
        // A write of an older version that was still on its way may have left something behind.
        if gone == 0 {
            break;
        }
    }
    let mut tx = db.write_to_erase(tenant).await?;
    store::update_finished(&mut tx, tenant).await?;
    tx.commit(&[]).await
}

async fn delete_all(
    db: &Db,
    tenant: TenantId,
    table: &'static str,
    progress: &mut impl FnMut(&'static str, i64),
) -> Result<i64> {
    let (mut all, mut failures) = (0, 0);
    loop {
        match delete_some(db, tenant, table).await {
            Ok(0) => return Ok(all),
            Ok(gone) => {
                progress(table, gone);
                (all, failures) = (all + gone, 0);
            }
            // Another eraser is at its batch, or this one took too long; what it has looked at is at hand now.
            Err(Error::Unavailable { code: Code::Overloaded | Code::Timeout, .. }) if failures < MOST_FAILURES => {
                failures += 1;
                tokio::time::sleep(PAUSE * failures).await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn delete_some(db: &Db, tenant: TenantId, table: &'static str) -> Result<i64> {
    let mut tx = db.write_to_erase(tenant).await?;
    let gone = store::delete(&mut tx, tenant, table, ROWS_A_BATCH).await?;
    if gone > 0 {
        tx.commit(&[]).await?;
    }
    Ok(gone)
}

/// Goes on with whatever was begun, here or by an instance that is no more.
pub struct Eraser {
    db: Db,
    wake: tokio::sync::Notify,
}

impl Eraser {
    /// Works for as long as somebody holds the result.
    pub fn start(db: Db) -> Arc<Self> {
        let eraser = Arc::new(Self { db, wake: tokio::sync::Notify::new() });
        tokio::spawn(work(Arc::downgrade(&eraser)));
        eraser
    }

    /// There is something to do now.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    async fn turn(&self) -> Result<()> {
        for tenant in store::list_unfinished(self.db.background()).await? {
            match finish(&self.db, tenant, |_, _| {}).await {
                Ok(()) => tracing::info!(%tenant, "a tenant is erased"),
                Err(error) => tracing::warn!(%tenant, %error, "erasing a tenant; goes on in {EVERY:?}"),
            }
        }
        Ok(())
    }
}

async fn work(eraser: Weak<Eraser>) {
    while let Some(eraser) = eraser.upgrade() {
        if let Err(error) = eraser.turn().await {
            tracing::warn!(%error, "looking for tenants to erase; looks again in {EVERY:?}");
        }
        // Woken or not, there is nothing to lose by looking.
        let _ = tokio::time::timeout(EVERY, eraser.wake.notified()).await;
    }
}
