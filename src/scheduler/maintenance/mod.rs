//! The chores: each goes through the tenants in which it finds something, batch by batch. Every batch is a transaction
//! that commits only while the run is this worker's, and notes where a next attempt goes on.

mod progress;
mod purge;
mod scopes;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::app::App;
use crate::db::{Attempt, retrying};
use crate::error::{Code, Error, Result};
use crate::ids::TenantId;
use crate::jobs::{self, Chore, Lease};
use crate::recall::Engine;
use crate::warmups;

use progress::Progress;

const TENANTS_A_PAGE: i64 = 100;
const ROWS_A_BATCH: i64 = 500;

/// Between batches: writers of the same tenant come first.
const PAUSE: Duration = Duration::from_millis(10);

pub async fn perform(engine: &Arc<Engine>, lease: &Arc<Lease>, chore: Chore) -> Result<Value> {
    let app = &engine.app;
    match chore {
        Chore::RollUpUsage => usage::roll_up(app).await,
        Chore::PurgeUsage => usage::purge(app).await,
        Chore::RewarmRelease => warmups::rewarm_release(engine, lease).await,
        Chore::IndexScopes => scopes::index(app, lease).await,
        _ => purge_tenants(app, lease, chore).await,
    }
}

async fn purge_tenants(app: &Arc<App>, lease: &Arc<Lease>, chore: Chore) -> Result<Value> {
    let kept = purge::kept(&app.config.jobs, chore);
    let mut progress = Progress::of(lease.run().progress.as_ref());
    loop {
        let (db, after) = (app.db.clone(), progress.after());
        let page = app
            .db
            .run(async move { jobs::tenants_to_purge(db.background(), chore, kept, after, TENANTS_A_PAGE).await });
        let page = page.await?;
        for tenant in &page {
            clean(app, lease, (chore, *tenant), &mut progress).await?;
        }
        if (page.len() as i64) < TENANTS_A_PAGE {
            return progress.report();
        }
    }
}

/// Goes through one tenant. What fails there keeps nobody from the next one.
async fn clean(
    app: &Arc<App>,
    lease: &Arc<Lease>,
    (chore, tenant): (Chore, TenantId),
    progress: &mut Progress,
) -> Result<()> {
    loop {
        match batch(app, lease, chore, tenant).await {
            Ok(removed) => {
                progress.removed(removed);
                lease.note(progress.value());
                if removed < ROWS_A_BATCH as u64 {
                    break;
                }
            }
            // The run was taken over.
            Err(error) if error.code() == Code::WrongState => return Err(error),
            // The tenant is being erased, and all of it goes.
            Err(error) if error.code() == Code::Unauthenticated => break,
            Err(error) => {
                tracing::warn!(chore = chore.name(), %tenant, %error, "a chore fails in a tenant");
                progress.failed(&error);
                break;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    progress.done(tenant);
    lease.note(progress.value());
    Ok(())
}

async fn batch(app: &Arc<App>, lease: &Arc<Lease>, chore: Chore, tenant: TenantId) -> Result<u64> {
    let (db, lease, settings) = (app.db.clone(), lease.clone(), app.config.jobs.clone());
    let work = retrying(move || {
        let (db, lease, settings) = (db.clone(), lease.clone(), settings.clone());
        async move {
            let mut tx = db.write_beside(tenant).await?;
            lease.fence(&mut tx).await?;
            let kept = purge::kept(&settings, chore);
            let (removed, touched) = purge::purge(&mut tx, tenant, (chore, kept), ROWS_A_BATCH).await?;
            tx.commit(&touched).await?;
            Ok::<_, Error>(Attempt::Done(removed))
        }
    });
    app.db.run(work).await
}
