//! Finding what is due. Every instance looks, every second; the row of the job decides who is first.

use crate::db::Db;
use crate::error::Result;
use crate::ids::{JobId, TenantId};
use crate::jobs::model::{Cause, Due, Job, Schedule};
use crate::jobs::store;

const JOBS_A_LOOK: i64 = 200;

/// A job slower than its schedule has no more runs than this wait for it; further due times pass it by.
const MOST_WAITING: i64 = 100;

/// Puts the runs in the queue that are due, and moves their jobs on; returns how many runs.
pub async fn plan(db: &Db) -> Result<u64> {
    let mut runs = 0;
    for (tenant, job) in store::list_due(db.background(), JOBS_A_LOOK).await? {
        runs += plan_job(db, tenant, job).await?;
    }
    Ok(runs)
}

async fn plan_job(db: &Db, tenant: TenantId, id: JobId) -> Result<u64> {
    let mut tx = db.write_beside(tenant).await?;
    let Some(job) = store::find_due(&mut tx, tenant, id).await? else { return Ok(0) };
    let now = store::now(&mut tx).await?;
    let due = due(&job, now);
    if !store::update_next_due(&mut tx, tenant, &job, due.next).await? {
        return Ok(0);
    }
    let room = MOST_WAITING - store::count_waiting(&mut tx, tenant, id).await?;
    let mut runs = 0;
    for due_at in due.now.iter().take(usize::try_from(room).unwrap_or(0)) {
        let new = store::insert_run(&mut tx, tenant, id, Some(*due_at), Cause::Schedule).await?;
        runs += u64::from(new.is_some());
    }
    tx.commit(&[]).await?;
    if room < due.now.len() as i64 {
        tracing::warn!(%tenant, job = %id, waiting = MOST_WAITING, "a job is slower than its schedule; due times pass it by");
    }
    Ok(runs)
}

/// What this version cannot read is not due until it is changed: it was written by another.
fn due(job: &Job, now: time::OffsetDateTime) -> Due {
    let never = Due { now: Vec::new(), next: None };
    let Some(since) = job.fields.next_due else { return never };
    match Schedule::parse(&job.fields.cron, &job.fields.timezone) {
        Ok(schedule) => Due::between(&schedule, since, now),
        Err(_) => {
            tracing::error!(job = %job.job_id, "the schedule of a job is not understood; it is not due any more");
            never
        }
    }
}
