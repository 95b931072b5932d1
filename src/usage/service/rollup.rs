//! Hours from minutes, days from hours, what is stored at the end of a day; and an end to what nobody asks for any
//! more. Both may be run at any time, by any number of instances: what is there already stays as it is.

use serde::Serialize;

use crate::db::{Db, WriteTx};
use crate::error::{Code, Result};
use crate::ids::TenantId;
use crate::usage::Grain;
use crate::usage::store::{self, TABLES};

/// What a roll-up made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RolledUp {
    pub tenants: u64,
    /// Rows of hours and of days.
    pub hours: u64,
    pub days: u64,
    /// Tenants whose memories were counted, for the day that is over.
    pub counted: u64,
}

/// Of every tenant, each in a transaction of its own.
pub async fn roll_up(db: &Db) -> Result<RolledUp> {
    let mut all = RolledUp::default();
    for tenant in store::tenants(db.background()).await? {
        let rolled = match roll_up_one(db, tenant).await {
            Err(error) if error.code() == Code::Unauthenticated => continue,
            rolled => rolled?,
        };
        all.tenants += 1;
        all.hours += rolled.hours;
        all.days += rolled.days;
        all.counted += rolled.counted;
    }
    Ok(all)
}

async fn roll_up_one(db: &Db, tenant: TenantId) -> Result<RolledUp> {
    let mut tx = db.write_beside(tenant).await?;
    let mut rolled = RolledUp::default();
    for table in TABLES {
        rolled.hours += store::roll_up(&mut tx, tenant, table, Grain::Hour).await?;
        rolled.days += store::roll_up(&mut tx, tenant, table, Grain::Day).await?;
    }
    rolled.counted = count(&mut tx, tenant).await?;
    tx.commit(&[]).await?;
    Ok(rolled)
}

/// Once a day.
async fn count(tx: &mut WriteTx, tenant: TenantId) -> Result<u64> {
    if store::is_counted(tx, tenant).await? {
        return Ok(0);
    }
    let stored = match store::find_totals(tx, tenant).await? {
        Some(totals) => totals,
        None => store::count(tx, tenant).await?,
    };
    store::insert_day(tx, tenant, stored).await?;
    Ok(1)
}

/// Deletes what is older than anybody can ask for: minutes after 8 days, hours after 100, days after 800, frequent
/// recalls after one. Returns how many rows.
pub async fn purge(db: &Db) -> Result<u64> {
    let mut deleted = 0;
    for tenant in store::tenants(db.background()).await? {
        deleted += match purge_one(db, tenant).await {
            Err(error) if error.code() == Code::Unauthenticated => continue,
            deleted => deleted?,
        };
    }
    Ok(deleted)
}

async fn purge_one(db: &Db, tenant: TenantId) -> Result<u64> {
    let mut tx = db.write_beside(tenant).await?;
    let mut deleted = store::delete_old_queries(&mut tx, tenant).await?;
    for table in TABLES {
        for grain in [Grain::Minute, Grain::Hour, Grain::Day] {
            deleted += store::delete_old(&mut tx, tenant, table, grain).await?;
        }
    }
    tx.commit(&[]).await?;
    Ok(deleted)
}
