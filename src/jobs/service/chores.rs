//! The installation's own jobs, and runs that somebody asks for.

use anyhow::anyhow;
use serde_json::{Value, json};

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

/// Puts a run of a chore in the queue, unless these details are what it was last asked for with. The first to say so
/// finds nothing to do.
pub async fn enqueue_for(db: &Db, chore: Chore, details: &Value) -> Result<()> {
    let mut tx = db.write_beside(TenantId::OPERATOR).await?;
    let job = store::find_for_update(&mut tx, TenantId::OPERATOR, Kind::Chore(chore), chore.id()).await?;
    let Some(job) = job.filter(|job| job.fields.details != *details) else { return Ok(()) };
    let asked_before = job.fields.details != json!({});
    let fields = JobFields { details: details.clone(), ..job.fields };
    store::update(&mut tx, TenantId::OPERATOR, chore.id(), &fields).await?;
    if asked_before {
        store::insert_run(&mut tx, TenantId::OPERATOR, chore.id(), None, Cause::Rewarm).await?;
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
