//! What is counted of the calls to a provider, in the same names whichever it is.

use std::time::{Duration, Instant};

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, PullingGauge};

use crate::config::ProviderName;
use crate::error::Result;
use crate::telemetry::{counters, durations};

#[derive(Clone)]
pub struct Metrics {
    answered: IntCounter,
    failed: IntCounter,
    too_long: IntCounter,
    time: Histogram,
    texts: IntCounter,
    retries: IntCounter,
    calls: IntCounterVec,
    times: HistogramVec,
    all_texts: IntCounterVec,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Answered,
    Failed,
    TooLong,
}

impl Metrics {
    pub fn new(provider: ProviderName) -> anyhow::Result<Self> {
        let provider = match provider {
            ProviderName::Local => "local",
            ProviderName::Hashed => "hashed",
            ProviderName::OpenAi => "openai",
        };
        let calls = counters(
            "cairn_embedding_calls_total",
            "Calls to the embedding provider, each try one.",
            &["provider", "outcome"],
        )?;
        let times =
            durations("cairn_embedding_call_duration_seconds", "Time that calls to the provider took.", &["provider"])?;
        let all_texts = counters("cairn_embedding_texts_total", "Texts handed to the provider.", &["provider"])?;
        let of = |outcome| calls.with_label_values(&[provider, outcome]);
        Ok(Self {
            answered: of("answered"),
            failed: of("failed"),
            too_long: of("too_long"),
            time: times.with_label_values(&[provider]),
            texts: all_texts.with_label_values(&[provider]),
            retries: IntCounter::new(
                "cairn_embedding_retries_total",
                "Calls to the embedding provider that were made again.",
            )?,
            calls,
            times,
            all_texts,
        })
    }

    pub fn called(&self, outcome: Outcome, took: Duration) {
        match outcome {
            Outcome::Answered => self.answered.inc(),
            Outcome::Failed => self.failed.inc(),
            Outcome::TooLong => self.too_long.inc(),
        }
        self.time.observe(took.as_secs_f64());
    }

    /// Makes a call that is the only one for these texts.
    pub async fn during<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let started = Instant::now();
        let outcome = work.await;
        self.called(if outcome.is_ok() { Outcome::Answered } else { Outcome::Failed }, started.elapsed());
        outcome
    }

    pub fn handed(&self, texts: usize) {
        self.texts.inc_by(texts as u64);
    }

    pub fn retried(&self) {
        self.retries.inc();
    }

    /// `open` says how many tenants' calls are kept back.
    pub fn collectors(
        &self,
        open: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> prometheus::Result<Vec<Box<dyn Collector>>> {
        let breakers = PullingGauge::new(
            "cairn_embedding_breakers_open",
            "Tenants whose calls to the embedding provider are kept back.",
            Box::new(open),
        )?;
        Ok(vec![
            Box::new(self.calls.clone()),
            Box::new(self.times.clone()),
            Box::new(self.all_texts.clone()),
            Box::new(self.retries.clone()),
            Box::new(breakers),
        ])
    }
}
