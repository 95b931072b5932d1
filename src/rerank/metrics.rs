//! What is counted of reranking.

use std::time::Instant;

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramVec, IntCounterVec};

use crate::telemetry::{counters, durations};

#[derive(Clone)]
pub struct Metrics {
    calls: IntCounterVec,
    times: HistogramVec,
    time: Histogram,
}

impl Metrics {
    pub fn new() -> anyhow::Result<Self> {
        let calls = counters("cairn_rerank_calls_total", "Questions whose candidates were reranked.", &["outcome"])?;
        for outcome in ["answered", "failed"] {
            calls.with_label_values(&[outcome]);
        }
        let times = durations("cairn_rerank_duration_seconds", "Time that reranking took.", &[])?;
        Ok(Self { calls, time: times.with_label_values::<&str>(&[]), times })
    }

    pub(super) async fn during<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let started = Instant::now();
        let outcome = work.await;
        self.time.observe(started.elapsed().as_secs_f64());
        self.calls.with_label_values(&[if outcome.is_ok() { "answered" } else { "failed" }]).inc();
        outcome
    }

    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![Box::new(self.calls.clone()), Box::new(self.times.clone())]
    }
}
