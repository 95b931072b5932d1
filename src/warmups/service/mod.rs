//! Use cases of warm-ups: keeping them, and working one off.

mod deploy;
mod items;
mod rewarm;
mod run;
mod runs;
mod top;

pub use deploy::{note_release, rewarm_release};
pub use rewarm::start as start_rewarming;
pub use run::run;
pub use runs::{cancel, find_run, list_runs, recent, start};

use crate::db::{Db, Intent, TenantConn};
use crate::error::{Code, Error, Result};
use crate::http::IfMatch;
use crate::ids::{JobId, TenantId};
use crate::jobs::{self, Job, Kind};
use crate::tenants;
use crate::warmups::model::{Warmup, WarmupDraft, WarmupPatch};

/// Warm-ups of a tenant at most.
const MOST_WARMUPS: i64 = 100;

pub async fn create(db: Db, intent: Intent, draft: WarmupDraft) -> Result<Warmup> {
    let tenant = intent.tenant;
    let mut tx = db.write(tenant).await?;
    if let Some(id) = tx.claim::<uuid::Uuid>(&intent.once).await? {
        let job = jobs::find(&mut tx, tenant, Kind::WarmUp, JobId::from_uuid(id)).await?;
        return job.ok_or_else(|| Error::gone("warm-up"))?.try_into();
    }
    // Locks the tenant, so that nobody else counts at the same time.
    tenants::find_for_update(&mut tx, tenant).await?.ok_or_else(|| Error::not_found("tenant"))?;
    let room = jobs::list(&mut tx, tenant, &[Kind::WarmUp], None, MOST_WARMUPS).await?.len() < MOST_WARMUPS as usize;
    if !room {
        let detail = format!("a tenant may have {MOST_WARMUPS} warm-ups; delete one, or add targets to another");
        return Err(Error::refused(Code::LimitReached, detail));
    }
    let (id, now) = (JobId::new(), jobs::now(&mut tx).await?);
    jobs::insert(&mut tx, tenant, id, Kind::WarmUp, &draft.fields(now)?).await?;
    let warmup = find(&mut tx, tenant, id).await?;
    tx.record(&id.uuid()).await?;
    tx.commit(&[]).await?;
    Ok(warmup)
}

pub async fn find(conn: &mut TenantConn, tenant: TenantId, id: JobId) -> Result<Warmup> {
    let job = jobs::find(conn, tenant, Kind::WarmUp, id).await?;
    job.ok_or_else(|| Error::not_found("warm-up"))?.try_into()
}

/// A page of the tenant's warm-ups, the oldest first.
pub async fn list(db: Db, tenant: TenantId, after: Option<JobId>, limit: i64) -> Result<Vec<Warmup>> {
    let jobs = jobs::list(&mut db.read(tenant).await?, tenant, &[Kind::WarmUp], after, limit).await?;
    jobs.into_iter().map(Warmup::try_from).collect()
}

pub async fn patch(db: Db, intent: Intent, id: JobId, patch: WarmupPatch, condition: IfMatch) -> Result<Warmup> {
    let tenant = intent.tenant;
    let mut tx = db.write(tenant).await?;
    if tx.claim::<()>(&intent.once).await?.is_some() {
        let job = jobs::find(&mut tx, tenant, Kind::WarmUp, id).await?;
        return job.ok_or_else(|| Error::gone("warm-up"))?.try_into();
    }
    let before = Warmup::try_from(lock(&mut tx, tenant, id).await?)?;
    condition.check(before.etag())?;
    let wanted = patch.apply(before.draft());
    if wanted != before.draft() {
        let now = jobs::now(&mut tx).await?;
        jobs::update(&mut tx, tenant, id, &wanted.fields(now)?).await?;
    }
    let after = find(&mut tx, tenant, id).await?;
    tx.record(&()).await?;
    tx.commit(&[]).await?;
    Ok(after)
}

/// With all its runs; one that is under way ends.
pub async fn delete(db: Db, intent: Intent, id: JobId, condition: IfMatch) -> Result<()> {
    let tenant = intent.tenant;
    let mut tx = db.write(tenant).await?;
    if tx.claim::<()>(&intent.once).await?.is_some() {
        return Ok(());
    }
    condition.check(Warmup::try_from(lock(&mut tx, tenant, id).await?)?.etag())?;
    jobs::delete(&mut tx, tenant, id).await?;
    tx.record(&()).await?;
    tx.commit(&[]).await
}

async fn lock(conn: &mut TenantConn, tenant: TenantId, id: JobId) -> Result<Job> {
    let job = jobs::find_for_update(conn, tenant, Kind::WarmUp, id).await?;
    job.ok_or_else(|| Error::not_found("warm-up"))
}
