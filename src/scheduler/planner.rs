//! Finds what is due at every tick.

use std::sync::Arc;

use crate::app::{App, Ending};
use crate::error::Result;
use crate::jobs;
use crate::scheduler::clock::Ticks;
use crate::scheduler::metrics::JobMetrics;
use crate::warmups;

pub async fn run(app: Arc<App>, metrics: JobMetrics, mut ticks: Ticks, mut ending: Ending) {
    let mut prepared = false;
    // One line when it begins to fail, one when it works again.
    let mut failing = false;
    while !ticks.next(&mut ending).await {
        let looked = look(&app, &metrics, &mut prepared).await;
        match &looked {
            Ok(()) if failing => tracing::info!("jobs are looked for again"),
            Err(error) if !failing => tracing::warn!(%error, "jobs cannot be looked for; goes on every second"),
            _ => {}
        }
        failing = looked.is_err();
    }
}

async fn look(app: &App, metrics: &JobMetrics, prepared: &mut bool) -> Result<()> {
    let db = &app.db;
    if !*prepared {
        jobs::ensure_chores(db).await?;
        *prepared = true;
        // Nothing waits for this: who asks first computes.
        if let Err(error) = warmups::note_release(app).await {
            tracing::warn!(%error, "a new release is not made ready beforehand");
        }
    }
    jobs::plan(db).await?;
    metrics.lag(jobs::lag_secs(db.background()).await?);
    Ok(())
}
