//! Where a value lies, what an entry must be to be taken, and the one decision whether it is.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::cache::Stamp;
use crate::cache::entry::{Cost, Entry, Millis};
use crate::cache::ghosts::Loss;
use crate::cache::key::{Digest, Key, Value};
use crate::cache::local::Address;
use crate::cache::signs::Sign;
use crate::cache::stats::{Happening, Layer, TenantStats};
use crate::cache::vault::Vault;
use crate::ids::ScopeId;
use crate::redis::Unavailable;
use crate::sabotage::{Guard, is_off};

/// Where a value of this key lies, if there is one; worked out once a request.
pub struct Slot<K: Key> {
    pub(super) address: Address,
    pub(super) namespace: String,
    /// Its name does not end with the namespace.
    pub(super) hashed: bool,
    pub(super) vault: Arc<Vault>,
    pub(super) stats: Arc<TenantStats>,
    /// Whose changes make it worthless.
    pub(super) scopes: Vec<ScopeId>,
    pub(super) kind: PhantomData<fn() -> K>,
}

/// What an entry must be to be taken: of this stamp, and valid at this moment of the database's clock.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub stamp: Option<Stamp>,
    pub now: Millis,
}

impl Wanted {
    /// For what depends on nothing but its key.
    pub const ANY: Self = Self { stamp: None, now: Millis::MIN };
}

/// A cached value, proved fresh.
#[derive(Debug)]
pub struct Hit<V> {
    pub value: V,
    pub layer: Layer,
    pub made_at: Millis,
    pub valid_until: Millis,
}

/// A value just computed, and what is known of it.
pub struct Made<V> {
    pub value: V,
    pub stamp: Option<Stamp>,
    pub made_at: Millis,
    /// Not to be taken after this moment, however young it is.
    pub valid_until: Millis,
    pub cost: Cost,
}

enum Verdict {
    Fresh,
    Stale,
    Expired,
}

impl<K: Key> Slot<K> {
    pub fn digest(&self) -> Digest {
        self.address.digest
    }

    pub fn stats(&self) -> &TenantStats {
        &self.stats
    }
}

/// The value of an entry that is fresh; counts what it was otherwise.
pub(super) fn taken<K: Key>(
    slot: &Slot<K>,
    wanted: &Wanted,
    layer: Layer,
    entry: Option<&Entry>,
) -> Option<Hit<K::Value>> {
    let count = |happening| slot.stats.count(K::KIND, layer, happening);
    let Some(entry) = entry else {
        count(Happening::Miss);
        return None;
    };
    match judge(entry, wanted) {
        Verdict::Fresh => {}
        Verdict::Stale => {
            count(Happening::Stale);
            return None;
        }
        Verdict::Expired => {
            count(Happening::Miss);
            return None;
        }
    }
    let Some(value) = K::Value::unpack(&entry.value) else {
        count(Happening::Miss);
        return None;
    };
    slot.stats.hit(K::KIND, layer, entry.cost);
    Some(Hit { value, layer, made_at: entry.made_at, valid_until: entry.valid_until })
}

/// The one decision that everything rests on.
fn judge(entry: &Entry, wanted: &Wanted) -> Verdict {
    if entry.stamp != wanted.stamp && !is_off(Guard::StampCheck) {
        return Verdict::Stale;
    }
    if entry.valid_until <= wanted.now {
        return Verdict::Expired;
    }
    Verdict::Fresh
}

pub(super) fn is_fresh(entry: &Entry, wanted: &Wanted) -> bool {
    matches!(judge(entry, wanted), Verdict::Fresh)
}

pub(super) fn count_failure<K: Key>(slot: &Slot<K>, unavailable: Unavailable) {
    match unavailable {
        Unavailable::Resting => {}
        Unavailable::TooSlow => slot.stats.count(K::KIND, Layer::Redis, Happening::Timeout),
        Unavailable::Failed => slot.stats.count(K::KIND, Layer::Redis, Happening::Error),
    }
}

/// Of what was not found locally, and perhaps in Redis.
pub(super) fn count_loss<K: Key>(slot: &Slot<K>, loss: Option<Loss>, found: bool) {
    match loss {
        Some(Loss::Evicted) => slot.stats.sign(K::KIND, Sign::EvictedReturn, 1),
        Some(Loss::Expired) if !found => slot.stats.sign(K::KIND, Sign::UnchangedMiss, 1),
        _ => {}
    }
}

impl<V> Hit<V> {
    pub fn age(&self, now: Millis) -> Millis {
        (now - self.made_at).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Tag;

    #[test]
    fn an_entry_is_taken_with_its_whole_stamp_and_within_its_time_only() {
        let stamp = || Stamp::of("1", [(&b"agent"[..], Some(Tag::random()))]);
        let (own, other) = (stamp(), stamp());
        let entry =
            |stamp| Entry { stamp, made_at: 10, valid_until: 100, cost: Cost::default(), value: "stone".into() };
        let judged = |has, wants, now| judge(&entry(has), &Wanted { stamp: wants, now });
        assert!(matches!(judged(own, own, 99), Verdict::Fresh));
        assert!(matches!(judged(own, own, 100), Verdict::Expired));
        for (has, wants) in [(own, other), (own, None), (None, own)] {
            assert!(matches!(judged(has, wants, 99), Verdict::Stale));
        }
        assert!(matches!(judged(None, None, Millis::MIN), Verdict::Fresh));
    }
}
