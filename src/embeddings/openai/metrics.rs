//! What is counted of the calls to a provider, and what readiness says of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, Opts, PullingGauge};

use super::Failure;
use super::lane::Lanes;
use crate::embeddings::ProviderState;

const NOT_CALLED: u8 = 0;
const ANSWERED: u8 = 1;
const FAILED: u8 = 2;

pub struct Metrics {
    calls: IntCounterVec,
    retries: IntCounter,
    kept_back: PullingGauge,
    last: AtomicU8,
    lanes: Arc<Lanes>,
}

impl Metrics {
    pub fn new(lanes: Arc<Lanes>) -> anyhow::Result<Self> {
        let calls = Opts::new("cairn_embedding_calls_total", "Calls to the embedding provider, each try one.");
        let calls = IntCounterVec::new(calls, &["outcome"])?;
        for outcome in ["answered", "failed", "too_long"] {
            calls.with_label_values(&[outcome]);
        }
        let counted = lanes.clone();
        Ok(Self {
            calls,
            retries: IntCounter::new(
                "cairn_embedding_retries_total",
                "Calls to the embedding provider that were made again.",
            )?,
            kept_back: PullingGauge::new(
                "cairn_embedding_breakers_open",
                "Tenants whose calls to the embedding provider are kept back.",
                Box::new(move || counted.open() as f64),
            )?,
            last: AtomicU8::new(NOT_CALLED),
            lanes,
        })
    }

    pub fn called<T>(&self, outcome: &Result<T, Failure>) {
        let (name, last) = match outcome {
            Ok(_) => ("answered", ANSWERED),
            Err(Failure::TooLong) => ("too_long", ANSWERED),
            Err(_) => ("failed", FAILED),
        };
        self.calls.with_label_values(&[name]).inc();
        self.last.store(last, Ordering::Relaxed);
    }

    pub fn retried(&self) {
        self.retries.inc();
    }

    pub fn state(&self) -> ProviderState {
        let last = self.last.load(Ordering::Relaxed);
        let detail = match last {
            NOT_CALLED => "not called yet".to_owned(),
            ANSWERED => "the last call was answered".to_owned(),
            _ => format!("the last call failed; {} breaker(s) open", self.lanes.open()),
        };
        ProviderState { ok: last != FAILED, detail }
    }

    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![Box::new(self.calls.clone()), Box::new(self.retries.clone()), Box::new(self.kept_back.clone())]
    }
}
