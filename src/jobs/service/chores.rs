//! The installation's own jobs, and runs that somebody asks for.

use anyhow::anyhow;
use serde_json::json;

use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::{JobId, RunId, TenantId};
use crate::jobs::model::{Cause, Chore, JobFields, Kind, Schedule};
use crate::jobs::store;

/// Sees to it that there is a job of each chore; those that are there stay as they are.
pub async fn ensure_chores(db: &Db) -> Result<()> {
    let mut tx = db.write_beside(TenantId::OPERATOR).await?;
    let now = store::now(&mut tx).await?;
    for chore in Chore::ALL {
        let schedule = Schedule::parse(chore.cron(), "UTC")
            .map_err(|invalid| Error::Internal(anyhow!("the schedule of {}: {invalid:?}", chore.name())))?;
        let fields = JobFields {
            name: chore.name().into(),
            cron: chore.cron().into(),
            timezone: "UTC".into(),
            enabled: true,
            details: json!({}),
            next_due: schedule.next_after(now),
        };
        store::insert(&mut tx, TenantId::OPERATOR, chore.id(), Kind::Chore(*chore), &fields).await?;
    }
    tx.commit(&[]).await
}

/// Puts a run in the queue that somebody asks for, whatever the schedule says.
pub async fn enqueue(db: &Db, tenant: TenantId, job: JobId, cause: Cause) -> Result<RunId> {
    let mut tx = db.write_beside(tenant).await?;
    let run = store::insert_run(&mut tx, tenant, job, None, cause).await?;
    tx.commit(&[]).await?;
    run.ok_or_else(Error::changed_meanwhile)
}
