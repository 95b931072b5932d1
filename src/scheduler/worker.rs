//! A worker: claims a run, works on it, renews its lease meanwhile, and ends it. One that errs fails and is not tried
//! again before it is due again; one whose worker is lost is taken over by another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinHandle;

use crate::app::Ending;
use crate::error::{Error, Result};
use crate::jobs::{self, Claim, Claimer, Kind, Lease, RunState, Standing};
use crate::recall::Engine;
use crate::scheduler::clock::Ticks;
use crate::scheduler::maintenance;
use crate::scheduler::metrics::JobMetrics;
use crate::warmups;

/// A run that is to be cancelled hears of it with a heartbeat.
const LONGEST_BEAT: Duration = Duration::from_secs(2);

/// How often the end of a run is written anew, if it cannot be: the work would be done again.
const TRIES: u32 = 3;
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

pub struct Worker {
    pub engine: Arc<Engine>,
    pub claimer: Claimer,
    pub metrics: JobMetrics,
}

/// How work on a run came to an end.
enum End {
    Done(Value),
    Failed(String),
    Cancelled,
    /// The app ends.
    Stopped,
    Lost,
}

impl Worker {
    /// Works until the app ends.
    pub async fn run(self, mut ticks: Ticks, mut ending: Ending) {
        loop {
            while self.turn(&mut ending).await {}
            if ticks.next(&mut ending).await {
                return;
            }
        }
    }

    /// Works on one run; whether there may be more to do.
    async fn turn(&self, ending: &mut Ending) -> bool {
        if self.engine.app.is_stopping() || ending.has_come() {
            return false;
        }
        match jobs::claim(&self.engine.app.db, &self.claimer).await {
            Ok(Claim::Nothing) => false,
            Ok(Claim::Run(lease)) => {
                self.see_through(Arc::new(lease), ending).await;
                true
            }
            Ok(Claim::TakenOver(lease)) => {
                self.metrics.lost();
                tracing::warn!(run = %lease.run().run_id, attempt = lease.run().attempt, "a run is taken over: its worker was not heard of");
                self.see_through(Arc::new(lease), ending).await;
                true
            }
            Ok(Claim::Ended { tenant, job, kind, state }) => {
                self.metrics.ended(kind, state.name());
                tracing::warn!(kind = kind.name(), %tenant, %job, outcome = state.name(), "a run whose worker was lost is ended");
                true
            }
            Err(error) => {
                tracing::debug!(%error, "claiming a run");
                false
            }
        }
    }

    async fn see_through(&self, lease: Arc<Lease>, ending: &mut Ending) {
        let (tenant, run, kind) = (lease.tenant(), lease.run().run_id, lease.job().kind);
        let started = Instant::now();
        tracing::info!(kind = kind.name(), %tenant, %run, attempt = lease.run().attempt, "a run begins");
        let work = self.engine.app.db.runtime().spawn(perform(self.engine.clone(), lease.clone()));
        let end = watch(&lease, work, ending).await;
        let reason = match &end {
            End::Failed(reason) => Some(reason.clone()),
            _ => None,
        };
        let outcome = settle(&lease, end).await;
        self.metrics.ran(kind, outcome, started.elapsed());
        let ms = started.elapsed().as_millis() as u64;
        tracing::info!(kind = kind.name(), %tenant, %run, outcome, reason, ms, "a run ends");
    }
}

/// What is done, by kind.
async fn perform(engine: Arc<Engine>, lease: Arc<Lease>) -> Result<Value> {
    match lease.job().kind {
        Kind::Chore(chore) => maintenance::perform(&engine, &lease, chore).await,
        Kind::WarmUp => warmups::run(&engine, &lease).await,
    }
}

/// Renews the lease until the work is done or is to end.
async fn watch(lease: &Lease, mut work: JoinHandle<Result<Value>>, ending: &mut Ending) -> End {
    let beat = LONGEST_BEAT.min(lease.length() / 3);
    let mut renewed = Instant::now();
    let end = loop {
        let ended = tokio::select! {
            done = &mut work => return finished(done.unwrap_or_else(|panic| Err(Error::Internal(panic.into())))),
            ended = ending.within(beat) => ended,
        };
        if ended {
            break End::Stopped;
        }
        let now = Instant::now();
        match lease.heartbeat().await {
            Ok(Standing::Held) => renewed = now,
            Ok(Standing::Cancelled) => break End::Cancelled,
            Ok(Standing::Lost) => break End::Lost,
            // Whoever cannot be heard for so long is taken for lost.
            Err(_) if renewed.elapsed() > lease.length() => break End::Lost,
            Err(error) => tracing::warn!(run = %lease.run().run_id, %error, "renewing the lease of a run"),
        }
    };
    work.abort();
    // What it has begun in the database ends by itself, and commits only while the run is this worker's.
    let _ = work.await;
    end
}

fn finished(done: Result<Value>) -> End {
    match done {
        Ok(report) => End::Done(report),
        Err(Error::Internal(cause)) => {
            tracing::error!(cause = format!("{cause:#}"), "a run fails");
            End::Failed("internal error; the log of the server says more".into())
        }
        Err(error) => End::Failed(error.to_string()),
    }
}

/// Writes what the run came to, and says it.
async fn settle(lease: &Lease, end: End) -> &'static str {
    for _ in 0..TRIES {
        let (settled, outcome) = match &end {
            End::Done(report) => (lease.finish(report).await, RunState::Succeeded.name()),
            End::Failed(reason) => (lease.fail(reason).await, RunState::Failed.name()),
            End::Cancelled => (lease.cancel().await, RunState::Cancelled.name()),
            End::Stopped => (lease.hand_back().await, "handed_back"),
            End::Lost => return "lost",
        };
        match settled {
            Ok(true) => return outcome,
            Ok(false) => return "lost",
            Err(error) => tracing::warn!(run = %lease.run().run_id, %error, "writing the end of a run"),
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
    "lost"
}
