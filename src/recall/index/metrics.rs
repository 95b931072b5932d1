//! What is counted of scopes in memory, and of the ways that recalls are answered.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use crate::recall::model::Path;
use crate::telemetry;

/// What bringing a scope up to date came to.
#[derive(Debug, Clone, Copy)]
pub enum Outcome {
    /// It was read whole.
    Loaded,
    /// What had changed was read.
    CaughtUp,
    /// Memory has no room for it.
    Refused,
}

#[derive(Clone)]
pub struct Metrics {
    paths: IntCounterVec,
    reads: IntCounterVec,
    evictions: IntCounter,
    scopes: IntGauge,
    bytes: IntGauge,
}

impl Metrics {
    pub fn new(registry: &telemetry::Metrics) -> anyhow::Result<Self> {
        let help = "Recalls that were computed, by the way candidates were found.";
        let paths = telemetry::counters("cairn_recall_paths_total", help, &["path"])?;
        let help = "Scopes brought up to date in memory, by outcome: loaded, caught_up, refused.";
        let reads = telemetry::counters("cairn_hot_index_reads_total", help, &["outcome"])?;
        let evictions = IntCounter::new("cairn_hot_index_evictions_total", "Scopes that had to leave memory.")?;
        let scopes = IntGauge::new("cairn_hot_index_scopes", "Scopes in memory.")?;
        let bytes = IntGauge::new("cairn_hot_index_bytes", "What the scopes in memory take.")?;
        Path::ALL.iter().for_each(|path| drop(paths.with_label_values(&[path.name()])));
        ["loaded", "caught_up", "refused"].iter().for_each(|name| drop(reads.with_label_values(&[name])));
        registry.register(Box::new(paths.clone()))?;
        registry.register(Box::new(reads.clone()))?;
        registry.register(Box::new(evictions.clone()))?;
        registry.register(Box::new(scopes.clone()))?;
        registry.register(Box::new(bytes.clone()))?;
        Ok(Self { paths, reads, evictions, scopes, bytes })
    }

    pub fn answered(&self, path: Path) {
        self.paths.with_label_values(&[path.name()]).inc();
    }

    pub fn caught_up(&self, outcome: Outcome) {
        let name = match outcome {
            Outcome::Loaded => "loaded",
            Outcome::CaughtUp => "caught_up",
            Outcome::Refused => "refused",
        };
        self.reads.with_label_values(&[name]).inc();
    }

    pub fn evicted(&self) {
        self.evictions.inc();
    }

    pub fn holds(&self, scopes: u64, bytes: u64) {
        self.scopes.set(scopes as i64);
        self.bytes.set(bytes as i64);
    }
}
