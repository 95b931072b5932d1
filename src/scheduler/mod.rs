//! The scheduler: a clock that ticks every second, one planner that finds what is due, and workers that do it. All that
//! they agree on with other instances is in Postgres, and by its clock; what this instance takes the time to be
//! decides nothing.

mod clock;
mod maintenance;
mod metrics;
mod planner;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use crate::ids::WorkerId;
use crate::jobs::{Claimer, Kind};
use crate::recall::Engine;

use clock::Clock;
use metrics::JobMetrics;
use worker::Worker;

/// Plans and works until the app ends, if this instance is to.
pub fn start(engine: &Arc<Engine>) -> anyhow::Result<()> {
    let app = &engine.app;
    let settings = &app.config.jobs;
    let metrics = JobMetrics::new()?;
    metrics.register(&app.metrics)?;
    if !settings.enabled {
        return Ok(());
    }
    let clock = Clock::default();
    app.accompany(|ending| clock.clone().run(ending));
    app.accompany(|ending| planner::run(app.clone(), metrics.clone(), clock.ticks(), ending));
    let claimer = Claimer {
        worker: WorkerId::random(),
        kinds: Kind::all().collect(),
        lease: Duration::from_secs(settings.lease_secs),
    };
    for _ in 0..settings.workers {
        let worker = Worker { engine: engine.clone(), claimer: claimer.clone(), metrics: metrics.clone() };
        app.accompany(|ending| worker.run(clock.ticks(), ending));
    }
    Ok(())
}
