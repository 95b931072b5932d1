//! Finds what is due at every tick.

use crate::app::Ending;
use crate::db::Db;
use crate::error::Result;
use crate::jobs;
use crate::scheduler::clock::Ticks;
use crate::scheduler::metrics::JobMetrics;

pub async fn run(db: Db, metrics: JobMetrics, mut ticks: Ticks, mut ending: Ending) {
    let mut prepared = false;
    // One line when it begins to fail, one when it works again.
    let mut failing = false;
    while !ticks.next(&mut ending).await {
        let looked = look(&db, &metrics, &mut prepared).await;
        match &looked {
            Ok(()) if failing => tracing::info!("jobs are looked for again"),
            Err(error) if !failing => tracing::warn!(%error, "jobs cannot be looked for; goes on every second"),
            _ => {}
        }
        failing = looked.is_err();
    }
}

async fn look(db: &Db, metrics: &JobMetrics, prepared: &mut bool) -> Result<()> {
    if !*prepared {
        jobs::ensure_chores(db).await?;
        *prepared = true;
    }
    jobs::plan(db).await?;
    metrics.lag(jobs::lag_secs(db.background()).await?);
    Ok(())
}
