//! What rules look at.

use crate::cache::Kind;
use crate::usage::{KindUse, LayerUse};

/// A window of what the caches did for a tenant.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub kinds: Vec<KindHistory>,
    /// The most that the local layer of an instance may hold.
    pub local_bytes: u64,
    pub changed: Vec<ChangedHistory>,
    /// What was asked most, at most a day ago.
    pub queries: Vec<QueryHistory>,
    pub warmups: Vec<WarmupHistory>,
    /// The embedding model that the tenant's vectors are of, and the one that runs.
    pub pinned_model: String,
    pub running_model: String,
}

#[derive(Debug, Clone)]
pub struct KindHistory {
    pub kind: Kind,
    /// How long entries are kept.
    pub ttl_secs: u64,
    pub local: LayerUse,
    pub redis: LayerUse,
    pub counts: KindUse,
}

/// A scope that was changed.
#[derive(Debug, Clone)]
pub struct ChangedHistory {
    /// As in `agent ada`.
    pub name: String,
    pub changes: i64,
    pub entries: i64,
}

#[derive(Debug, Clone)]
pub struct QueryHistory {
    pub recalls: i64,
    pub hits: i64,
    /// In how many different hours it was asked.
    pub hours: i64,
}

/// A run of a warm-up, and the hit rate of its targets in the hours around it.
#[derive(Debug, Clone)]
pub struct WarmupHistory {
    pub name: String,
    pub warmed: i64,
    pub already_warm: i64,
    pub hit_rate_before: Option<f64>,
    pub hit_rate_after: Option<f64>,
}

impl History {
    pub fn of(&self, kind: Kind) -> Option<&KindHistory> {
        self.kinds.iter().find(|of| of.kind == kind)
    }
}

impl KindHistory {
    pub fn lookups(&self) -> i64 {
        self.local.hits + self.local.missed()
    }

    pub fn hits(&self) -> i64 {
        self.local.hits + self.redis.hits
    }

    /// Computed, for want of an entry.
    pub fn computed(&self) -> i64 {
        (self.lookups() - self.hits()).max(0)
    }

    pub fn hit_rate(&self) -> f64 {
        part(self.hits(), self.lookups())
    }

    /// The setting that bounds the life of its entries.
    pub fn ttl_setting(&self) -> String {
        format!("cache.{}_ttl_secs", self.kind.name())
    }
}

/// Nothing of nothing is nothing.
pub fn part(of: i64, whole: i64) -> f64 {
    if whole > 0 { of as f64 / whole as f64 } else { 0.0 }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A history of recalls alone.
    pub fn recalls(change: impl FnOnce(&mut KindHistory)) -> History {
        let mut kind = KindHistory {
            kind: Kind::Recall,
            ttl_secs: 300,
            local: LayerUse::default(),
            redis: LayerUse::default(),
            counts: KindUse::default(),
        };
        change(&mut kind);
        History { kinds: vec![kind], local_bytes: 1_000_000, ..History::default() }
    }
}
