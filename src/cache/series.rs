//! What Prometheus sees of the caches: one counter twice, for it and for the statistics of a tenant.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use prometheus::core::Collector;
use prometheus::{Counter, CounterVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use strum::VariantArray;

use crate::cache::Kind;
use crate::cache::stats::{Happening, Layer, Saving};
use crate::telemetry::counters;

/// The series that Prometheus sees.
pub struct Series {
    events: IntCounterVec,
    saved: Saved,
    entries: IntGaugeVec,
    bytes: IntGaugeVec,
    pub mismatches: IntCounter,
}

impl Series {
    pub fn new() -> anyhow::Result<Self> {
        let gauge = |name, help| IntGaugeVec::new(Opts::new(name, help), &["kind", "tenant"]);
        Ok(Self {
            events: counters(
                "cairn_cache_events_total",
                "What happened to entries (hit, miss, stale, eviction, expiration, error, timeout).",
                &["kind", "layer", "event", "tenant"],
            )?,
            saved: Saved::new()?,
            entries: gauge("cairn_cache_entries", "Entries in the local layer.")?,
            bytes: gauge("cairn_cache_bytes", "Bytes in the local layer.")?,
            mismatches: IntCounter::new(
                "cairn_cache_mismatch_total",
                "Hits that differed from what was computed anew. Anything but 0 is a bug: please report it.",
            )?,
        })
    }

    /// What happens to the entries of a kind in a layer, in the order of the variants.
    pub fn happenings(&self, kind: Kind, layer: Layer, tenant: &str) -> Vec<Meter> {
        let meter = |happening: &Happening| {
            let labels = [kind.name(), layer.name(), (*happening).into(), tenant];
            Meter::of(Total::Count(self.events.with_label_values(&labels)))
        };
        Happening::VARIANTS.iter().map(meter).collect()
    }

    /// What hits of a kind spare, in the order of the variants.
    pub fn savings(&self, kind: Kind, tenant: &str) -> Vec<Meter> {
        Saving::VARIANTS.iter().map(|saving| self.saved.of(*saving, &[kind.name(), tenant])).collect()
    }

    pub fn entries(&self, kind: Kind, tenant: &str) -> Level {
        Level::of(self.entries.with_label_values(&[kind.name(), tenant]))
    }

    pub fn bytes(&self, kind: Kind, tenant: &str) -> Level {
        Level::of(self.bytes.with_label_values(&[kind.name(), tenant]))
    }

    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        let Self { events, saved, entries, bytes, mismatches } = self;
        vec![
            Box::new(events.clone()),
            Box::new(saved.computations.clone()),
            Box::new(saved.calls.clone()),
            Box::new(saved.tokens.clone()),
            Box::new(saved.seconds.clone()),
            Box::new(entries.clone()),
            Box::new(bytes.clone()),
            Box::new(mismatches.clone()),
        ]
    }
}

/// Counts since the start, and knows how far it had come at the last reset, and when it was last taken.
pub struct Meter {
    count: AtomicU64,
    at_reset: AtomicU64,
    when_taken: AtomicU64,
    total: Total,
}

/// Prometheus counts time in seconds.
enum Total {
    Count(IntCounter),
    Micros(Counter),
}

impl Meter {
    fn of(total: Total) -> Self {
        Self { count: AtomicU64::new(0), at_reset: AtomicU64::new(0), when_taken: AtomicU64::new(0), total }
    }

    pub fn add(&self, count: u64) {
        self.count.fetch_add(count, Ordering::Relaxed);
        match &self.total {
            Total::Count(total) => total.inc_by(count),
            Total::Micros(seconds) => seconds.inc_by(count as f64 / 1e6),
        }
    }

    pub fn get(&self) -> u64 {
        self.count.load(Ordering::Relaxed).saturating_sub(self.at_reset.load(Ordering::Relaxed))
    }

    pub fn reset(&self) {
        self.at_reset.store(self.count.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// What was added since the last time.
    pub fn take(&self) -> u64 {
        let count = self.count.load(Ordering::Relaxed);
        count.saturating_sub(self.when_taken.swap(count, Ordering::Relaxed))
    }
}

/// How much there is now.
pub struct Level {
    now: AtomicI64,
    total: IntGauge,
}

impl Level {
    fn of(total: IntGauge) -> Self {
        Self { now: AtomicI64::new(0), total }
    }

    pub fn add(&self, change: i64) {
        self.now.fetch_add(change, Ordering::Relaxed);
        self.total.add(change);
    }

    pub fn get(&self) -> u64 {
        self.now.load(Ordering::Relaxed).max(0) as u64
    }
}

/// One each, because they have different units.
struct Saved {
    computations: IntCounterVec,
    calls: IntCounterVec,
    tokens: IntCounterVec,
    seconds: CounterVec,
}

impl Saved {
    fn new() -> anyhow::Result<Self> {
        let labels = ["kind", "tenant"];
        Ok(Self {
            computations: counters(
                "cairn_cache_saved_computations_total",
                "Computations that were waited for instead of being done again.",
                &labels,
            )?,
            calls: counters(
                "cairn_cache_saved_embedding_calls_total",
                "Calls to the embedding provider that hits spared.",
                &labels,
            )?,
            tokens: counters(
                "cairn_cache_saved_embedding_tokens_total",
                "Tokens that hits spared the embedding provider.",
                &labels,
            )?,
            seconds: CounterVec::new(
                Opts::new("cairn_cache_saved_seconds_total", "Time that computing what was hit had taken."),
                &labels,
            )?,
        })
    }

    fn of(&self, saving: Saving, labels: &[&str]) -> Meter {
        Meter::of(match saving {
            Saving::SharedComputations => Total::Count(self.computations.with_label_values(labels)),
            Saving::EmbeddingCalls => Total::Count(self.calls.with_label_values(labels)),
            Saving::EmbeddingTokens => Total::Count(self.tokens.with_label_values(labels)),
            Saving::Microseconds => Total::Micros(self.seconds.with_label_values(labels)),
        })
    }
}
