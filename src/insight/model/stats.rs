//! What can be flushed, and how statistics are shown.

use serde::{Deserialize, Serialize};
use strum::VariantArray;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::cache::{Happening, Kind, Layer, Saving, TenantStats};
use crate::error::{Code, Invalid};
use crate::http::FromBody;
use crate::ids::ExternalId;
use crate::json::{Fields, FromJson, Json};

/// What is to be flushed: of which kinds, of whom. An empty object flushes everything of the tenant.
#[derive(Debug, Clone, ToSchema)]
pub struct Flush {
    /// All kinds when left out; where an agent or a circle is named, the kinds that belong to them.
    #[schema(value_type = Vec<Kind>, required = false, min_items = 1)]
    pub kinds: Vec<Kind>,
    /// What this agent recalled.
    pub agent_id: Option<ExternalId>,
    /// What was recalled from this circle, and its context.
    pub circle_id: Option<ExternalId>,
}

impl FromJson for Flush {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let kinds: Option<Vec<Kind>> = fields.optional("kinds");
        let (agent_id, circle_id) = (fields.nullable("agent_id"), fields.nullable("circle_id"));
        let whole = (&agent_id, &circle_id) == (&None, &None);
        match &kinds {
            Some(kinds) if kinds.is_empty() => {
                fields.complain("kinds", Invalid::new(Code::FieldEmpty, "must not be empty"));
            }
            Some(kinds) if kinds.contains(&Kind::Embedding) && !whole => {
                let detail = "embeddings belong to no agent and no circle: leave agent_id and circle_id out";
                fields.complain("kinds", Invalid::new(Code::InvalidValue, detail));
            }
            _ => {}
        }
        let default = if whole { Kind::VARIANTS } else { &[Kind::Recall, Kind::Circle] };
        let mut kinds = kinds.unwrap_or_else(|| default.to_vec());
        kinds.sort_unstable();
        kinds.dedup();
        fields.finish(|| Some(Self { kinds, agent_id, circle_id }))
    }
}

impl FromBody for Flush {}

impl Flush {
    /// Of the whole tenant.
    pub fn is_whole(&self) -> bool {
        self.agent_id.is_none() && self.circle_id.is_none()
    }
}

/// What was flushed: from the moment of this answer on, no instance answers from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlushReceipt {
    #[schema(value_type = Vec<Kind>)]
    pub kinds: Vec<String>,
    /// Scopes whose stamps were changed.
    pub scopes: usize,
    /// Whether the tenant's cache secret was replaced, which makes all its cached embeddings worthless.
    pub new_secret: bool,
}

/// What the caches did for the tenant, as this instance counted it.
#[derive(Debug, Serialize, ToSchema)]
pub struct CacheStats {
    /// When counting began: at the first use, or at the last reset.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    pub redis: RedisState,
    pub kinds: Vec<KindStats>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RedisState {
    pub ok: bool,
    /// `closed`: in use; `open`: left alone for now; `probing`: being tried; `off`: not used at all.
    #[schema(example = "closed")]
    pub breaker: &'static str,
    pub detail: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct KindStats {
    pub kind: Kind,
    /// Of all lookups, the share that either layer answered; null before the first.
    #[schema(minimum = 0, maximum = 1)]
    pub hit_rate: Option<f64>,
    pub layers: Vec<LayerStats>,
    pub saved: Saved,
}

/// What is not found locally is looked for in Redis, and counts in both.
#[derive(Debug, Serialize, ToSchema)]
pub struct LayerStats {
    #[schema(example = "local")]
    pub layer: &'static str,
    pub hits: u64,
    pub misses: u64,
    /// Found, but made before the last change of what it depends on.
    pub stale: u64,
    /// Made room for others.
    pub evictions: u64,
    pub expirations: u64,
    pub errors: u64,
    pub timeouts: u64,
    /// Held now; null for Redis, which does not count by tenant.
    pub entries: Option<u64>,
    pub bytes: Option<u64>,
}

/// What hits and waiting spared.
#[derive(Debug, Serialize, ToSchema)]
pub struct Saved {
    /// Computations that were not begun because an equal one was under way.
    pub shared_computations: u64,
    pub embedding_calls: u64,
    /// A token is taken as four bytes.
    pub embedding_tokens: u64,
    /// Time that computing would have taken.
    pub milliseconds: u64,
    /// By the price of the embedding model in the settings, in its currency.
    pub money: f64,
}

impl KindStats {
    /// `price`: of a million tokens.
    pub fn of(stats: &TenantStats, kind: Kind, price: f64) -> Self {
        let layers: Vec<LayerStats> = Layer::VARIANTS.iter().map(|layer| LayerStats::of(stats, kind, *layer)).collect();
        let hits: u64 = layers.iter().map(|layer| layer.hits).sum();
        let lookups: u64 = layers.iter().take(1).map(|local| local.hits + local.misses + local.stale).sum();
        let hit_rate = (lookups > 0).then(|| (hits as f64 / lookups as f64).min(1.0));
        let tokens = stats.saved(kind, Saving::EmbeddingTokens);
        let saved = Saved {
            shared_computations: stats.saved(kind, Saving::SharedComputations),
            embedding_calls: stats.saved(kind, Saving::EmbeddingCalls),
            embedding_tokens: tokens,
            milliseconds: stats.saved(kind, Saving::Microseconds) / 1_000,
            money: tokens as f64 * price / 1e6,
        };
        Self { kind, hit_rate, layers, saved }
    }
}

impl LayerStats {
    fn of(stats: &TenantStats, kind: Kind, layer: Layer) -> Self {
        let happened = |happening| stats.happened(kind, layer, happening);
        let held = (layer == Layer::Local).then(|| stats.local(kind));
        Self {
            layer: layer.name(),
            hits: happened(Happening::Hit),
            misses: happened(Happening::Miss),
            stale: happened(Happening::Stale),
            evictions: happened(Happening::Eviction),
            expirations: happened(Happening::Expiration),
            errors: happened(Happening::Error),
            timeouts: happened(Happening::Timeout),
            entries: held.map(|(entries, _)| entries),
            bytes: held.map(|(_, bytes)| bytes),
        }
    }
}
