//! What makes an instance look, once a second. It only ticks: when a job is due is told by Postgres, and whether a tick
//! comes early, late or twice changes nothing.

use std::time::Duration;

use tokio::sync::watch;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::app::Ending;

const EVERY: Duration = Duration::from_secs(1);

/// Ticks follow the clock of this machine, and cease for a while when it is set back. Nobody waits longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Default)]
pub struct Clock(watch::Sender<u64>);

/// The ticks as one listener hears them; those that came meanwhile are one.
pub struct Ticks(watch::Receiver<u64>);

impl Clock {
    pub fn ticks(&self) -> Ticks {
        Ticks(self.0.subscribe())
    }

    /// Ticks until the app ends.
    pub async fn run(self, mut ending: Ending) {
        let mut scheduler = match self.start().await {
            Ok(scheduler) => scheduler,
            Err(error) => {
                tracing::error!(%error, "the clock of jobs does not start; they are looked for every {PATIENCE:?}");
                return;
            }
        };
        while !ending.within(Duration::from_secs(3_600)).await {}
        if let Err(error) = scheduler.shutdown().await {
            tracing::warn!(%error, "the clock of jobs does not stop");
        }
    }

    async fn start(&self) -> Result<JobScheduler, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        let clock = self.0.clone();
        let tick = Job::new_repeated(EVERY, move |_, _| clock.send_modify(|ticks| *ticks += 1))?;
        scheduler.add(tick).await?;
        scheduler.start().await?;
        Ok(scheduler)
    }
}

impl Ticks {
    /// Waits for the next tick, or the end; whether the end came.
    pub async fn next(&mut self, ending: &mut Ending) -> bool {
        tokio::select! {
            ended = ending.within(PATIENCE) => ended,
            // A clock that is gone ticks no more; the patience above goes on.
            Ok(()) = self.0.changed() => false,
        }
    }
}
