//! What the caches count, by tenant, kind and layer: for `GET /v1/cache/stats` since the last reset, for Prometheus
//! since the start. Counts are of this instance.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use prometheus::core::Collector;
use serde::Serialize;
use strum::VariantArray;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::cache::series::{Level, Meter, Series};
use crate::cache::signs::{Sign, SignCounts, Signs};
use crate::cache::{Cost, Kind};
use crate::ids::{ScopeId, TenantId};

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

pub struct Stats {
    tenants: RwLock<HashMap<TenantId, (Arc<TenantStats>, OffsetDateTime)>>,
    series: Series,
    /// Whether the series tell tenants apart.
    by_tenant: bool,
}

impl Stats {
    pub fn new(by_tenant: bool) -> anyhow::Result<Self> {
        Ok(Self { tenants: RwLock::default(), series: Series::new()?, by_tenant })
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
        let layer = |kind, layer| self.series.happenings(kind, layer, &tenant);
        let of_kind = |kind: &Kind| OfKind {
            layers: [layer(*kind, Layer::Local), layer(*kind, Layer::Redis)],
            savings: self.series.savings(*kind, &tenant),
            entries: self.series.entries(*kind, &tenant),
            bytes: self.series.bytes(*kind, &tenant),
            signs: Signs::default(),
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
        self.series.collectors()
    }
}
