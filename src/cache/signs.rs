//! What tells whether a cache is large enough, and keeps what it should for as long as it should: counted by tenant
//! and kind, taken by whoever writes it down.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use strum::VariantArray;

/// What is counted besides hits and misses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::VariantArray)]
pub enum Sign {
    /// Computed again because its time was over, though nothing had changed.
    UnchangedMiss,
    /// Looked for in the local layer soon after it had made room there.
    EvictedReturn,
    /// Left the local layer, for whatever reason.
    Removed,
    /// The same, and no hit ever came to it there.
    RemovedUnused,
    /// Calls to the provider of embeddings, and the tokens that were sent with them.
    SpentCalls,
    SpentTokens,
}

const SIGNS: usize = Sign::VARIANTS.len();

/// Upper bounds, in milliseconds, of how long it took until what had been made worthless was hit again. The last
/// bucket has none.
pub const FIRST_HIT_BOUNDS: [u64; 5] = [100, 1_000, 10_000, 60_000, 600_000];
const BUCKETS: usize = FIRST_HIT_BOUNDS.len() + 1;

#[derive(Default)]
pub(super) struct Signs {
    counts: [AtomicU64; SIGNS],
    first_hits: [AtomicU64; BUCKETS],
    first_hit_longest: AtomicU64,
    unused_bytes: AtomicI64,
}

/// Signs since they were last taken; the bytes are those of this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SignCounts {
    counts: [u64; SIGNS],
    pub first_hits: [u64; BUCKETS],
    /// In milliseconds.
    pub first_hit_longest: u64,
    pub unused_bytes: u64,
}

impl Signs {
    pub fn count(&self, sign: Sign, count: u64) {
        self.counts[sign as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// An entry that had been hit was made worthless, and so long after was hit again.
    pub fn first_hit(&self, after: Duration) {
        let ms = after.as_millis().try_into().unwrap_or(u64::MAX);
        let bucket = FIRST_HIT_BOUNDS.iter().position(|bound| ms <= *bound).unwrap_or(BUCKETS - 1);
        self.first_hits[bucket].fetch_add(1, Ordering::Relaxed);
        self.first_hit_longest.fetch_max(ms, Ordering::Relaxed);
    }

    /// Bytes of entries that no hit has come to yet.
    pub fn hold_unused(&self, change: i64) {
        self.unused_bytes.fetch_add(change, Ordering::Relaxed);
    }

    pub fn take(&self) -> SignCounts {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        SignCounts {
            counts: self.counts.each_ref().map(take),
            first_hits: self.first_hits.each_ref().map(take),
            first_hit_longest: take(&self.first_hit_longest),
            unused_bytes: self.unused_bytes.load(Ordering::Relaxed).max(0) as u64,
        }
    }
}

impl SignCounts {
    pub fn of(&self, sign: Sign) -> u64 {
        self.counts[sign as usize]
    }

    /// Whether nothing happened; what is held is no happening.
    pub fn is_empty(&self) -> bool {
        Self { unused_bytes: 0, ..*self } == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_counted_anew_and_what_is_held_stays() {
        let signs = Signs::default();
        signs.count(Sign::Removed, 3);
        signs.hold_unused(500);
        signs.first_hit(Duration::from_millis(100));
        signs.first_hit(Duration::from_secs(3_600));
        let taken = signs.take();
        assert_eq!((taken.of(Sign::Removed), taken.of(Sign::RemovedUnused)), (3, 0));
        assert_eq!((taken.first_hits, taken.first_hit_longest), ([1, 0, 0, 0, 0, 1], 3_600_000));
        let again = signs.take();
        assert!(again.is_empty() && !taken.is_empty());
        assert_eq!(again.unused_bytes, 500);
    }
}
