//! What is counted of jobs, in the names of Prometheus.

use std::time::Duration;

use prometheus::{Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts};

use crate::jobs::Kind;
use crate::telemetry::Metrics;

/// Seconds; a purge that finds nothing takes milliseconds, a warm-up minutes.
const BUCKETS: [f64; 12] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0];

/// What a run comes to on an instance; the last two go on elsewhere.
const OUTCOMES: [&str; 5] = ["succeeded", "failed", "cancelled", "handed_back", "lost"];

#[derive(Clone)]
pub struct JobMetrics {
    runs: IntCounterVec,
    durations: HistogramVec,
    lag: Gauge,
    lost: IntCounter,
}

impl JobMetrics {
    pub fn new() -> anyhow::Result<Self> {
        let runs = Opts::new("cairn_job_runs_total", "Runs of jobs that this instance ended, by what they came to.");
        let durations =
            HistogramOpts::new("cairn_job_run_duration_seconds", "Time that this instance worked on a run of a job.");
        let runs = IntCounterVec::new(runs, &["kind", "outcome"])?;
        let durations = HistogramVec::new(durations.buckets(BUCKETS.to_vec()), &["kind"])?;
        for kind in Kind::all() {
            durations.with_label_values(&[kind.name()]);
            for outcome in OUTCOMES {
                runs.with_label_values(&[kind.name(), outcome]);
            }
        }
        Ok(Self {
            runs,
            durations,
            lag: Gauge::new(
                "cairn_job_lag_seconds",
                "How long the run that waits longest has been due, in all of the installation; 0 if none waits.",
            )?,
            lost: IntCounter::new(
                "cairn_job_lost_leases_total",
                "Runs that this instance took over from a worker that was not heard of.",
            )?,
        })
    }

    pub fn register(&self, metrics: &Metrics) -> anyhow::Result<()> {
        metrics.register(Box::new(self.runs.clone()))?;
        metrics.register(Box::new(self.durations.clone()))?;
        metrics.register(Box::new(self.lag.clone()))?;
        metrics.register(Box::new(self.lost.clone()))
    }

    /// A run that nobody works on any more.
    pub fn ended(&self, kind: Kind, outcome: &str) {
        self.runs.with_label_values(&[kind.name(), outcome]).inc();
    }

    pub fn ran(&self, kind: Kind, outcome: &str, took: Duration) {
        self.ended(kind, outcome);
        self.durations.with_label_values(&[kind.name()]).observe(took.as_secs_f64());
    }

    pub fn lag(&self, secs: f64) {
        self.lag.set(secs);
    }

    pub fn lost(&self) {
        self.lost.inc();
    }
}
