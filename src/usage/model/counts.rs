//! Rows of counts: the same names in memory, in the database, and in the statements that add them up.

use serde::Serialize;
use sqlx::FromRow;

use crate::cache::{Happening, KindCounts, Layer, Saving, Sign};

/// A struct of counts, the names of those that are added up, and of those of which the largest stays.
macro_rules! counts {
    ($(#[$doc:meta])* $name:ident { $($sum:ident),* $(,)? } $({ $($most:ident),* $(,)? })?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, FromRow)]
        pub struct $name {
            $(pub $sum: i64,)*
            $($(pub $most: i64,)*)?
        }

        impl $name {
            pub const SUMS: &'static [&'static str] = &[$(stringify!($sum)),*];
            pub const MOST: &'static [&'static str] = &[$($(stringify!($most)),*)?];

            pub fn add(&mut self, other: &Self) {
                $(self.$sum += other.$sum;)*
                $($(self.$most = self.$most.max(other.$most);)*)?
            }
        }
    };
}

counts! {
    /// What happened in a layer.
    LayerUse { hits, misses, stale, evictions, expirations, errors }
}

counts! {
    /// What happened to a kind, wherever it was looked for.
    KindUse {
        shared_computations, saved_calls, saved_tokens, saved_micros, spent_calls, spent_tokens, unchanged_misses,
        evicted_returns, removed, removed_unused, samples, held_bytes, unused_bytes, again_100ms, again_1s, again_10s,
        again_1m, again_10m, again_later,
    } { again_longest_ms }
}

counts! {
    /// Recalls of an agent.
    AgentUse { recalls, hits }
}

counts! {
    /// Changes of a scope, and entries they made worthless.
    ScopeUse { changes, entries }
}

impl LayerUse {
    pub fn of(counts: &KindCounts, layer: Layer) -> Self {
        let happened = |happening| counts.happened(layer, happening) as i64;
        Self {
            hits: happened(Happening::Hit),
            misses: happened(Happening::Miss),
            stale: happened(Happening::Stale),
            evictions: happened(Happening::Eviction),
            expirations: happened(Happening::Expiration),
            errors: happened(Happening::Error) + happened(Happening::Timeout),
        }
    }

    /// Lookups that this layer could not answer.
    pub fn missed(&self) -> i64 {
        self.misses + self.stale
    }
}

impl KindUse {
    pub fn of(counts: &KindCounts) -> Self {
        let (saved, sign) = (|saving| counts.saved(saving) as i64, |sign| counts.signs.of(sign) as i64);
        let [again_100ms, again_1s, again_10s, again_1m, again_10m, again_later] =
            counts.signs.first_hits.map(|count| count as i64);
        Self {
            shared_computations: saved(Saving::SharedComputations),
            saved_calls: saved(Saving::EmbeddingCalls),
            saved_tokens: saved(Saving::EmbeddingTokens),
            saved_micros: saved(Saving::Microseconds),
            spent_calls: sign(Sign::SpentCalls),
            spent_tokens: sign(Sign::SpentTokens),
            unchanged_misses: sign(Sign::UnchangedMiss),
            evicted_returns: sign(Sign::EvictedReturn),
            removed: sign(Sign::Removed),
            removed_unused: sign(Sign::RemovedUnused),
            samples: 1,
            held_bytes: counts.held_bytes as i64,
            unused_bytes: counts.signs.unused_bytes as i64,
            again_100ms,
            again_1s,
            again_10s,
            again_1m,
            again_10m,
            again_later,
            again_longest_ms: counts.signs.first_hit_longest as i64,
        }
    }

    /// How many were hit again within the bounds of `FIRST_HIT_BOUNDS`, and later.
    pub fn hit_again(&self) -> [i64; 6] {
        [self.again_100ms, self.again_1s, self.again_10s, self.again_1m, self.again_10m, self.again_later]
    }
}
