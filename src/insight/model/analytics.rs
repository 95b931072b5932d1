//! Analytics as they are shown: series and sums of what all instances counted.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use strum::VariantArray;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::cache::{FIRST_HIT_BOUNDS, Kind, Layer};
use crate::ids::ExternalId;
use crate::insight::advice::Advice;
use crate::usage::{KindStep, KindUse, LayerStep, LayerUse, Span};

/// What the caches did for the tenant, on all instances, and what could be better.
#[derive(Debug, Serialize, ToSchema)]
pub struct CacheAnalytics {
    /// The beginning of the first step.
    #[serde(with = "time::serde::rfc3339")]
    pub from: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub to: OffsetDateTime,
    pub step_secs: i64,
    pub kinds: Vec<KindSeries>,
    /// What was asked most in the window, at most a day ago, by keyed hash; the request only where the tenant's setting
    /// `keep_queries` lets it be kept. Who acts as an agent sees its own.
    pub top_queries: Vec<AnalyticsQuery>,
    /// Who recalled most. Who acts as an agent sees itself.
    pub top_agents: Vec<AnalyticsAgent>,
    /// Whose changes made most cached answers worthless.
    pub invalidations: Vec<Invalidations>,
    pub advice: Vec<Advice>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct KindSeries {
    pub kind: Kind,
    pub totals: Totals,
    /// By step, the oldest first; steps in which nothing happened are left out.
    pub points: Vec<Point>,
}

/// Of a step.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CacheAnalyticsPoint)]
pub struct Point {
    #[serde(with = "time::serde::rfc3339")]
    pub begins: OffsetDateTime,
    /// The step is not over yet.
    pub partial: bool,
    #[serde(flatten)]
    pub counts: Counts,
}

/// Of the whole window.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CacheAnalyticsTotals)]
pub struct Totals {
    #[serde(flatten)]
    pub counts: Counts,
    /// Entries that left the local layers of instances, and those of them that no hit had come to there.
    pub removed: i64,
    pub never_hit: i64,
    /// The share of the two; null before the first.
    #[schema(minimum = 0, maximum = 1)]
    pub never_hit_rate: Option<f64>,
    /// From a change that made an answer worthless that had been hit, to the next hit; null where there was none.
    pub first_hit_ms: Option<FirstHit>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CacheAnalyticsCounts)]
pub struct Counts {
    /// Of all lookups, the share that either layer answered; null where there were none.
    #[schema(minimum = 0, maximum = 1)]
    pub hit_rate: Option<f64>,
    pub layers: Vec<LayerSeries>,
    pub saved: SavedBy,
}

/// What is not found locally is looked for in Redis, and counts in both.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CacheAnalyticsLayer)]
pub struct LayerSeries {
    pub layer: Layer,
    pub hits: i64,
    pub misses: i64,
    pub stale: i64,
    pub evictions: i64,
    pub expirations: i64,
    /// Calls that failed or took too long.
    pub errors: i64,
    /// Of the lookups in this layer.
    #[schema(minimum = 0, maximum = 1)]
    pub hit_rate: Option<f64>,
}

/// What hits and waiting spared.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CacheAnalyticsSaved)]
pub struct SavedBy {
    pub shared_computations: i64,
    pub embedding_calls: i64,
    pub embedding_tokens: i64,
    pub milliseconds: i64,
    /// By the price of the embedding model in the settings, in its currency.
    pub money: f64,
}

/// Milliseconds; half and 95 of a hundred took no longer than this, to the next of 100 ms, 1 s, 10 s, 1 min, 10 min, and
/// then the longest.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct FirstHit {
    pub count: i64,
    pub p50: i64,
    pub p95: i64,
    pub longest: i64,
}

/// A question that was asked often.
#[derive(Debug, Serialize, ToSchema)]
pub struct AnalyticsQuery {
    /// The same question of the same agent or circle has the same one, until the embeddings are flushed.
    pub digest: String,
    /// Who asked, or else which circle was.
    pub agent_id: Option<ExternalId>,
    pub circle_id: Option<ExternalId>,
    pub recalls: i64,
    #[schema(minimum = 0, maximum = 1)]
    pub hit_rate: f64,
    /// As it was sent; null where it is not kept.
    #[schema(value_type = Option<Object>)]
    pub request: Option<Value>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AnalyticsAgent {
    /// Null: all others, and recalls that no agent asked for.
    pub agent_id: Option<ExternalId>,
    pub recalls: i64,
    #[schema(minimum = 0, maximum = 1)]
    pub hit_rate: f64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Invalidations {
    /// Whose memories changed; neither: settings of the tenant, or all that are not told apart.
    pub agent_id: Option<ExternalId>,
    /// What was shared in it changed, or its board.
    pub circle_id: Option<ExternalId>,
    pub changes: i64,
    /// Cached entries that the changes made worthless, on all instances.
    pub entries: i64,
}

pub fn share(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64).clamp(0.0, 1.0))
}

impl Counts {
    fn of(layers: &[LayerUse; 2], counts: &KindUse, price: f64) -> Self {
        let shown = Layer::VARIANTS.iter().zip(layers).map(|(layer, counts)| LayerSeries::of(*layer, counts));
        let hits = layers.iter().map(|layer| layer.hits).sum();
        Self {
            hit_rate: share(hits, layers[0].hits + layers[0].missed()),
            layers: shown.collect(),
            saved: SavedBy {
                shared_computations: counts.shared_computations,
                embedding_calls: counts.saved_calls,
                embedding_tokens: counts.saved_tokens,
                milliseconds: counts.saved_micros / 1_000,
                money: counts.saved_tokens as f64 * price / 1e6,
            },
        }
    }
}

impl LayerSeries {
    fn of(layer: Layer, counts: &LayerUse) -> Self {
        let LayerUse { hits, misses, stale, evictions, expirations, errors } = *counts;
        let hit_rate = share(hits, hits + counts.missed());
        Self { layer, hits, misses, stale, evictions, expirations, errors, hit_rate }
    }
}

impl Totals {
    pub fn of(layers: &[LayerUse; 2], counts: &KindUse, price: f64) -> Self {
        Self {
            counts: Counts::of(layers, counts, price),
            removed: counts.removed,
            never_hit: counts.removed_unused,
            never_hit_rate: share(counts.removed_unused, counts.removed),
            first_hit_ms: FirstHit::of(counts),
        }
    }
}

impl FirstHit {
    fn of(counts: &KindUse) -> Option<Self> {
        let (buckets, longest) = (counts.hit_again(), counts.again_longest_ms);
        let count: i64 = buckets.iter().sum();
        let within = |share: f64| {
            let mut below = 0;
            let bucket = buckets.iter().position(|bucket| {
                below += bucket;
                below as f64 >= share * count as f64
            });
            let bound = bucket.and_then(|bucket| FIRST_HIT_BOUNDS.get(bucket));
            bound.map_or(longest, |bound| (*bound as i64).min(longest))
        };
        (count > 0).then(|| Self { count, p50: within(0.5), p95: within(0.95), longest })
    }
}

/// A kind over the window: by step, and in all.
#[derive(Debug)]
pub struct KindSteps {
    pub kind: Kind,
    by_step: BTreeMap<OffsetDateTime, ([LayerUse; 2], KindUse)>,
    pub layers: [LayerUse; 2],
    pub counts: KindUse,
}

impl KindSteps {
    /// Of every kind.
    pub fn all(layers: &[LayerStep], kinds: &[KindStep]) -> Vec<Self> {
        Kind::VARIANTS.iter().map(|kind| Self::of(*kind, layers, kinds)).collect()
    }

    fn of(kind: Kind, layers: &[LayerStep], kinds: &[KindStep]) -> Self {
        let mut steps = Self { kind, by_step: BTreeMap::new(), layers: Default::default(), counts: KindUse::default() };
        for step in layers.iter().filter(|step| step.kind == kind) {
            let (of_step, _) = steps.by_step.entry(step.begins).or_default();
            of_step[step.layer as usize].add(&step.counts);
            steps.layers[step.layer as usize].add(&step.counts);
        }
        for step in kinds.iter().filter(|step| step.kind == kind) {
            steps.by_step.entry(step.begins).or_default().1.add(&step.counts);
            steps.counts.add(&step.counts);
        }
        steps
    }

    pub fn shown(&self, span: Span, price: f64) -> KindSeries {
        let point = |(begins, (layers, counts)): (&OffsetDateTime, &([LayerUse; 2], KindUse))| Point {
            begins: *begins,
            partial: *begins + span.step > span.to,
            counts: Counts::of(layers, counts, price),
        };
        let totals = Totals::of(&self.layers, &self.counts, price);
        KindSeries { kind: self.kind, totals, points: self.by_step.iter().map(point).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_the_first_hit_are_those_of_the_buckets_and_no_longer_than_the_longest() {
        let counts =
            KindUse { again_100ms: 6, again_1s: 3, again_later: 1, again_longest_ms: 700_000, ..KindUse::default() };
        let first = FirstHit::of(&counts).expect("ten");
        assert_eq!(first, FirstHit { count: 10, p50: 100, p95: 700_000, longest: 700_000 });
        let few = KindUse { again_10s: 1, again_longest_ms: 1_200, ..KindUse::default() };
        assert_eq!(FirstHit::of(&few), Some(FirstHit { count: 1, p50: 1_200, p95: 1_200, longest: 1_200 }));
        assert_eq!(FirstHit::of(&KindUse::default()), None);
    }
}
