//! What the caches count, by tenant, kind and layer: for `GET /v1/cache/stats` since the last reset, for Prometheus
//! since the start. Counts are of this instance.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use prometheus::core::Collector;
use prometheus::{Counter, CounterVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use serde::Serialize;
use strum::VariantArray;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::cache::signs::{Sign, SignCounts, Signs};
use crate::cache::{Cost, Kind};
use crate::ids::{ScopeId, TenantId};
use crate::telemetry::counters;

/// Scopes that are told apart until what was counted is taken.
const SCOPES: usize = 256;

/// Where an entry was looked for.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    ToSchema,
    strum::VariantArray,
    strum::IntoStaticStr,
    sqlx::Type,
)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[schema(as = CacheLayer)]
#[strum(serialize_all = "lowercase")]
pub enum Layer {
    Local,
    Redis,
}

impl Layer {
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What can happen in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::VariantArray, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Happening {
    Hit,
    Miss,
    /// Found, but something it depends on has changed since.
    Stale,
    /// Made room for others.
    Eviction,
    /// Reached the end of its time.
    Expiration,
    Error,
    Timeout,
}

/// What hits spare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::VariantArray, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Saving {
    /// Waited for a computation that was under way instead of starting another.
    SharedComputations,
    EmbeddingCalls,
    EmbeddingTokens,
    Microseconds,
}

/// Counts since the start, and knows how far it had come at the last reset, and when it was last taken.
struct Meter {
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

    fn add(&self, count: u64) {
        self.count.fetch_add(count, Ordering::Relaxed);
        match &self.total {
            Total::Count(total) => total.inc_by(count),
            Total::Micros(seconds) => seconds.inc_by(count as f64 / 1e6),
        }
    }

    fn get(&self) -> u64 {
        self.count.load(Ordering::Relaxed).saturating_sub(self.at_reset.load(Ordering::Relaxed))
    }

    fn reset(&self) {
        self.at_reset.store(self.count.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// What was added since the last time.
    fn take(&self) -> u64 {
        let count = self.count.load(Ordering::Relaxed);
        count.saturating_sub(self.when_taken.swap(count, Ordering::Relaxed))
    }
}

/// How much there is now.
struct Level {
    now: AtomicI64,
    total: IntGauge,
}

impl Level {
    fn add(&self, change: i64) {
        self.now.fetch_add(change, Ordering::Relaxed);
        self.total.add(change);
    }

    fn get(&self) -> u64 {
        self.now.load(Ordering::Relaxed).max(0) as u64
    }
}

struct OfKind {
    layers: [Vec<Meter>; 2],
    savings: Vec<Meter>,
    entries: Level,
    bytes: Level,
    signs: Signs,
}

/// The counts of one tenant.
pub struct TenantStats {
    kinds: Vec<OfKind>,
    invalidated: Mutex<HashMap<ScopeId, Invalidated>>,
}

/// What the changes of a scope did to the local layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Invalidated {
    /// Changes that this instance made.
    pub changes: u64,
    /// Entries that went, whoever made the change.
    pub entries: u64,
}

/// What happened in the caches of a kind since it was last taken.
#[derive(Debug, Clone)]
pub struct KindCounts {
    pub kind: Kind,
    layers: [Vec<u64>; 2],
    savings: Vec<u64>,
    pub signs: SignCounts,
    /// In the local layer now.
    pub held_bytes: u64,
}

impl KindCounts {
    pub fn happened(&self, layer: Layer, happening: Happening) -> u64 {
        self.layers[layer as usize][happening as usize]
    }

    pub fn saved(&self, saving: Saving) -> u64 {
        self.savings[saving as usize]
    }

    pub fn is_empty(&self) -> bool {
        let counts = self.layers.iter().flatten().chain(&self.savings);
        self.signs.is_empty() && counts.copied().all(|count| count == 0)
    }
}

impl TenantStats {
    pub fn count(&self, kind: Kind, layer: Layer, happening: Happening) {
        self.kinds[kind as usize].layers[layer as usize][happening as usize].add(1);
    }

    pub fn save(&self, kind: Kind, saving: Saving, count: u64) {
        self.kinds[kind as usize].savings[saving as usize].add(count);
    }

    pub(super) fn hit(&self, kind: Kind, layer: Layer, cost: Cost) {
        self.count(kind, layer, Happening::Hit);
        self.save(kind, Saving::Microseconds, cost.micros.into());
        if cost.tokens > 0 {
            self.save(kind, Saving::EmbeddingCalls, 1);
            self.save(kind, Saving::EmbeddingTokens, cost.tokens.into());
        }
    }

    pub fn sign(&self, kind: Kind, sign: Sign, count: u64) {
        self.signs(kind).count(sign, count);
    }

    pub(super) fn signs(&self, kind: Kind) -> &Signs {
        &self.kinds[kind as usize].signs
    }

    /// A scope was changed, here or elsewhere, and so many entries went.
    pub(super) fn invalidate(&self, scope: ScopeId, here: bool, entries: u64) {
        let mut invalidated = self.invalidated.lock().unwrap_or_else(PoisonError::into_inner);
        if (here || entries > 0) && (invalidated.len() < SCOPES || invalidated.contains_key(&scope)) {
            let counts = invalidated.entry(scope).or_default();
            counts.changes += u64::from(here);
            counts.entries += entries;
        }
    }

    /// What happened since the last time, of each kind that something happened to.
    pub fn take(&self) -> Vec<KindCounts> {
        let take = |meters: &Vec<Meter>| meters.iter().map(Meter::take).collect::<Vec<_>>();
        let kinds = Kind::VARIANTS.iter().zip(&self.kinds).map(|(kind, of)| KindCounts {
            kind: *kind,
            layers: of.layers.each_ref().map(take),
            savings: take(&of.savings),
            signs: of.signs.take(),
            held_bytes: of.bytes.get(),
        });
        kinds.filter(|counts| !counts.is_empty()).collect()
    }

    /// The scopes that were changed since the last time.
    pub fn take_invalidated(&self) -> HashMap<ScopeId, Invalidated> {
        std::mem::take(&mut *self.invalidated.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Entries came to the local layer (or left it), and so many bytes with them.
    pub(super) fn held(&self, kind: Kind, entries: i64, bytes: i64) {
        self.kinds[kind as usize].entries.add(entries);
        self.kinds[kind as usize].bytes.add(bytes);
    }

    pub fn happened(&self, kind: Kind, layer: Layer, happening: Happening) -> u64 {
        self.kinds[kind as usize].layers[layer as usize][happening as usize].get()
    }

    pub fn saved(&self, kind: Kind, saving: Saving) -> u64 {
        self.kinds[kind as usize].savings[saving as usize].get()
    }

    /// Entries and bytes in the local layer now.
    pub fn local(&self, kind: Kind) -> (u64, u64) {
        let of = &self.kinds[kind as usize];
        (of.entries.get(), of.bytes.get())
    }

    fn reset(&self) {
        let meters = self.kinds.iter().flat_map(|of| of.layers.iter().flatten().chain(&of.savings));
        meters.for_each(Meter::reset);
    }
}

/// The series that Prometheus sees.
struct Series {
    events: IntCounterVec,
    saved: Saved,
    entries: IntGaugeVec,
    bytes: IntGaugeVec,
    mismatches: IntCounter,
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

pub struct Stats {
    tenants: RwLock<HashMap<TenantId, (Arc<TenantStats>, OffsetDateTime)>>,
    series: Series,
    /// Whether the series tell tenants apart.
    by_tenant: bool,
}

impl Stats {
    pub fn new(by_tenant: bool) -> anyhow::Result<Self> {
        let gauge = |name, help| IntGaugeVec::new(Opts::new(name, help), &["kind", "tenant"]);
        let series = Series {
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
        };
        Ok(Self { tenants: RwLock::default(), series, by_tenant })
    }

    /// The counts of a tenant, and since when they count.
    pub fn of(&self, tenant: TenantId) -> (Arc<TenantStats>, OffsetDateTime) {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(stats) = tenants.get(&tenant) {
            return stats.clone();
        }
        drop(tenants);
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        let stats = || (Arc::new(self.series_of(tenant)), OffsetDateTime::now_utc());
        tenants.entry(tenant).or_insert_with(stats).clone()
    }

    /// Every tenant that was counted for.
    pub fn all(&self) -> Vec<(TenantId, Arc<TenantStats>)> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.iter().map(|(tenant, (stats, _))| (*tenant, stats.clone())).collect()
    }

    fn series_of(&self, tenant: TenantId) -> TenantStats {
        let tenant = if self.by_tenant { tenant.to_string() } else { String::new() };
        let of_kind = |kind: &Kind| {
            let happening = |layer: Layer, happening: &Happening| {
                let labels = [kind.name(), layer.name(), (*happening).into(), &tenant];
                Meter::of(Total::Count(self.series.events.with_label_values(&labels)))
            };
            let layer = |layer| Happening::VARIANTS.iter().map(|one| happening(layer, one)).collect();
            let saving = |saving: &Saving| self.series.saved.of(*saving, &[kind.name(), &tenant]);
            let level = |gauge: &IntGaugeVec| Level {
                now: AtomicI64::new(0),
                total: gauge.with_label_values(&[kind.name(), &tenant]),
            };
            OfKind {
                layers: [layer(Layer::Local), layer(Layer::Redis)],
                savings: Saving::VARIANTS.iter().map(saving).collect(),
                entries: level(&self.series.entries),
                bytes: level(&self.series.bytes),
                signs: Signs::default(),
            }
        };
        TenantStats { kinds: Kind::VARIANTS.iter().map(of_kind).collect(), invalidated: Mutex::default() }
    }

    /// Counts from here on. What Prometheus sees goes on.
    pub fn reset(&self, tenant: TenantId) {
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((stats, since)) = tenants.get_mut(&tenant) {
            stats.reset();
            *since = OffsetDateTime::now_utc();
        }
    }

    /// Of a tenant that is gone.
    pub(super) fn drop_tenant(&self, tenant: TenantId) {
        self.tenants.write().unwrap_or_else(PoisonError::into_inner).remove(&tenant);
    }

    pub fn mismatch(&self) {
        self.series.mismatches.inc();
    }

    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        let Series { events, saved, entries, bytes, mismatches } = &self.series;
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
