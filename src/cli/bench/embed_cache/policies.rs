//! Caches that only pretend, for comparison: they keep keys, and let go of them by the book.

use std::collections::{BTreeMap, HashMap};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// What came first goes first.
    Fifo,
    /// What has not been used for longest goes first.
    Lru,
}

pub struct Simulated {
    policy: Policy,
    capacity: usize,
    clock: u64,
    /// When each came, or with LRU was last used.
    since: HashMap<u32, u64>,
    by_time: BTreeMap<u64, u32>,
}

impl Simulated {
    pub fn new(policy: Policy, capacity: usize) -> Self {
        Self { policy, capacity, clock: 0, since: HashMap::new(), by_time: BTreeMap::new() }
    }

    /// Whether it was there; now it is.
    pub fn visit(&mut self, key: u32) -> bool {
        self.clock += 1;
        let known = self.since.get(&key).copied();
        match known {
            Some(_) if self.policy == Policy::Fifo => {}
            Some(since) => {
                self.by_time.remove(&since);
                self.keep(key);
            }
            None => {
                if self.since.len() >= self.capacity
                    && let Some((_, oldest)) = self.by_time.pop_first()
                {
                    self.since.remove(&oldest);
                }
                self.keep(key);
            }
        }
        known.is_some()
    }

    fn keep(&mut self, key: u32) {
        self.since.insert(key, self.clock);
        self.by_time.insert(self.clock, key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(policy: Policy, sequence: &[u32]) -> Vec<bool> {
        let mut cache = Simulated::new(policy, 2);
        sequence.iter().map(|key| cache.visit(*key)).collect()
    }

    #[test]
    fn a_key_used_again_outlives_an_older_one_with_lru_and_not_with_fifo() {
        let sequence = [1, 2, 1, 3, 1];
        assert_eq!(hits(Policy::Lru, &sequence), [false, false, true, false, true]);
        assert_eq!(hits(Policy::Fifo, &sequence), [false, false, true, false, false]);
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        for policy in [Policy::Fifo, Policy::Lru] {
            assert!(hits(policy, &[1, 2, 3, 1, 2, 3, 1, 2, 3]).iter().all(|hit| !hit), "{policy:?}");
        }
    }
}
