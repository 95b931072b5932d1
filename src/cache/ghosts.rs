//! What was in the local layer a while ago, and what became of it: addresses alone, bounded. Whoever looks for
//! something that is gone learns whether more room or a longer life would have helped.

use std::time::{Duration, Instant};

use moka::sync::Cache;

use crate::cache::Stamp;
use crate::cache::local::Address;

/// About 5 MB when all are taken.
const ROOM: u64 = 20_000;
/// Whoever comes back later was away for long.
const KEPT: Duration = Duration::from_secs(3_600);

#[derive(Debug, Clone, Copy)]
pub enum Fate {
    /// It made room for others.
    Evicted,
    /// Its time was over; with this stamp it would still hold.
    Expired { stamp: Option<Stamp> },
    /// Something it depends on changed. Since when a hit is waited for, if one ever came to it.
    Changed { awaited_since: Option<Instant> },
}

/// What would have kept an entry where it is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// More room.
    Evicted,
    /// A longer life.
    Expired,
}

#[derive(Clone)]
pub(super) struct Ghosts(Cache<Address, Fate>);

impl Ghosts {
    pub fn new() -> Self {
        Self(Cache::builder().max_capacity(ROOM).time_to_live(KEPT).build())
    }

    pub fn insert(&self, address: Address, fate: Fate) {
        self.0.insert(address, fate);
    }

    /// Each loss is told once.
    pub fn loss(&self, address: &Address, wanted: Option<Stamp>) -> Option<Loss> {
        let loss = match self.0.get(address)? {
            Fate::Evicted => Loss::Evicted,
            Fate::Expired { stamp } if stamp == wanted => Loss::Expired,
            Fate::Expired { .. } | Fate::Changed { .. } => return None,
        };
        self.0.invalidate(address);
        Some(loss)
    }

    /// Since when a hit is waited for, of what is there again.
    pub fn awaited_since(&self, address: &Address) -> Option<Instant> {
        match self.0.remove(address)? {
            Fate::Changed { awaited_since } => awaited_since,
            Fate::Evicted | Fate::Expired { .. } => None,
        }
    }
}
