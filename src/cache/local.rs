//! The layer in this process: bounded by bytes; what is used often stays (TinyLFU). It follows the same rules as
//! Redis, so it is right while Redis is away, and useful too.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::notification::RemovalCause;
use moka::sync::Cache;

use crate::cache::Kind;
use crate::cache::ghosts::{Fate, Ghosts, Loss};
use crate::cache::held::Held;
use crate::cache::key::Digest;
use crate::cache::lookup::Wanted;
use crate::cache::signs::Sign;
use crate::cache::stats::{Happening, Layer};
use crate::ids::{ScopeId, TenantId};

/// How long an entry stays after its end, so that whoever looks for it at once learns that it was there.
const GRACE: Duration = Duration::from_secs(2);

/// Digests are made with a secret of the tenant; the tenant's id only helps to clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    pub tenant: TenantId,
    pub digest: Digest,
}

pub(super) struct Local {
    entries: Cache<Address, Arc<Held>>,
    index: Arc<Index>,
    ghosts: Ghosts,
}

/// What lies under which scope. It may list what is gone, never for long.
type Index = Mutex<HashMap<ScopeId, HashSet<Address>>>;

struct OwnLifetime;

impl Expiry<Address, Arc<Held>> for OwnLifetime {
    fn expire_after_create(&self, _: &Address, held: &Arc<Held>, _: Instant) -> Option<Duration> {
        Some(held.lifetime + GRACE)
    }

    fn expire_after_update(&self, _: &Address, held: &Arc<Held>, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(held.lifetime + GRACE)
    }
}

impl Local {
    pub fn new(bytes: u64) -> Self {
        let (index, ghosts) = (Arc::<Index>::default(), Ghosts::new());
        let (listed, buried) = (index.clone(), ghosts.clone());
        let entries = Cache::builder()
            .max_capacity(bytes)
            .weigher(|_, held: &Arc<Held>| held.bytes().try_into().unwrap_or(u32::MAX))
            .expire_after(OwnLifetime)
            .eviction_listener(move |address, held, cause| {
                bury(&buried, &address, &held, cause);
                removed(&listed, &address, &held, cause);
            })
            .support_invalidation_closures()
            .build();
        Self { entries, index, ghosts }
    }

    /// What lies there, if only for a moment longer: see `Held::is_live`.
    pub fn get(&self, address: &Address) -> Option<Arc<Held>> {
        self.entries.get(address)
    }

    /// Why what is wanted is not to be had, where that tells something: `held` is what was found instead.
    pub fn loss(&self, address: &Address, wanted: &Wanted, held: Option<&Held>) -> Option<Loss> {
        match held {
            Some(held) if held.entry.stamp == wanted.stamp => held.ends_by_time.then_some(Loss::Expired),
            Some(held) => {
                // Whoever keeps what is computed now finds it there.
                self.ghosts.insert(*address, Fate::Changed { awaited_since: held.awaited_from_now() });
                None
            }
            None => self.ghosts.loss(address, wanted.stamp),
        }
    }

    pub fn put(&self, address: Address, mut held: Held) {
        held.begin(self.ghosts.awaited_since(&address));
        let held = Arc::new(held);
        held.stats.held(held.kind, 1, held.bytes() as i64);
        self.entries.insert(address, held.clone());
        // After the insertion, which may remove another entry, and so ask for the index.
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        for scope in &held.scopes {
            index.entry(*scope).or_default().insert(address);
        }
    }

    pub fn remove(&self, address: &Address) {
        self.entries.invalidate(address);
    }

    /// Everything that depends on this scope; returns how many that were.
    pub fn remove_scope(&self, scope: ScopeId) -> u64 {
        let listed = self.index.lock().unwrap_or_else(PoisonError::into_inner).remove(&scope).unwrap_or_default();
        listed.iter().for_each(|address| self.entries.invalidate(address));
        listed.len() as u64
    }

    pub fn remove_kinds(&self, tenant: TenantId, kinds: Vec<Kind>) {
        let of_tenant = self
            .entries
            .invalidate_entries_if(move |address, held| address.tenant == tenant && kinds.contains(&held.kind));
        if let Err(error) = of_tenant {
            tracing::error!(%error, "entries of a tenant cannot be told apart: clearing all");
            self.clear();
        }
    }

    pub fn clear(&self) {
        self.entries.invalidate_all();
    }

    /// Does now what is done bit by bit otherwise: makes room, lets go of what has expired.
    pub fn tidy(&self) {
        self.entries.run_pending_tasks();
    }
}

/// Remembers for a while what became of it.
fn bury(ghosts: &Ghosts, address: &Address, held: &Held, cause: RemovalCause) {
    let fate = match cause {
        RemovalCause::Size => Fate::Evicted,
        RemovalCause::Expired if held.ends_by_time => Fate::Expired { stamp: held.entry.stamp },
        RemovalCause::Explicit => Fate::Changed { awaited_since: held.awaited_from_now() },
        RemovalCause::Expired | RemovalCause::Replaced => return,
    };
    ghosts.insert(*address, fate);
}

fn removed(index: &Index, address: &Address, held: &Held, cause: RemovalCause) {
    held.stats.held(held.kind, -1, -(held.bytes() as i64));
    held.stats.sign(held.kind, Sign::Removed, 1);
    if held.cease_unused() {
        held.stats.sign(held.kind, Sign::RemovedUnused, 1);
    }
    match cause {
        RemovalCause::Size => held.stats.count(held.kind, Layer::Local, Happening::Eviction),
        RemovalCause::Expired => held.count_end(),
        RemovalCause::Explicit => {}
        // Its successor lies at the same address and is listed there.
        RemovalCause::Replaced => return,
    }
    let mut index = index.lock().unwrap_or_else(PoisonError::into_inner);
    for scope in &held.scopes {
        if let Some(listed) = index.get_mut(scope) {
            listed.remove(address);
            if listed.is_empty() {
                index.remove(scope);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::cache::entry::{Cost, Entry};
    use crate::cache::held::{Life, OVERHEAD};
    use crate::cache::stats::{Stats, TenantStats};

    const VALUE: usize = 768;

    fn held(scopes: Vec<ScopeId>, stats: &Arc<TenantStats>) -> Held {
        let entry = Entry {
            stamp: None,
            made_at: 0,
            valid_until: i64::MAX,
            cost: Cost::default(),
            value: vec![0; VALUE].into(),
        };
        let lifetime = Duration::from_secs(60);
        let (stats, life) = (stats.clone(), Life::new(lifetime, false));
        Held { entry, kind: Kind::Embedding, scopes, lifetime, ends_by_time: true, stats, life }
    }

    fn stats(tenant: TenantId) -> Arc<TenantStats> {
        Stats::new(false).expect("statistics").of(tenant).0
    }

    fn address(tenant: TenantId, number: usize) -> Address {
        let mut digest = [0; 24];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        Address { tenant, digest: Digest(digest) }
    }

    /// A text used in every tenth request, ten used now and then, and hundreds used once.
    fn requests() -> Vec<usize> {
        (0..20_000)
            .map(|number| match number % 10 {
                0 => 0,
                3 => 1 + number / 10 % 10,
                _ => 100 + number,
            })
            .collect()
    }

    /// The share of requests for texts that come again which find theirs.
    fn hit_rate(mut finds: impl FnMut(usize) -> bool) -> f64 {
        let found: Vec<(usize, bool)> = requests().into_iter().map(|number| (number, finds(number))).collect();
        let again = found.iter().filter(|(number, _)| *number < 100).count();
        found.iter().filter(|(number, hit)| *number < 100 && *hit).count() as f64 / again as f64
    }

    #[test]
    fn what_is_used_again_and_again_stays_and_what_is_used_once_goes() {
        const ROOM: usize = 50;
        let tenant = TenantId::new();
        let stats = stats(tenant);
        let local = Local::new((ROOM * (VALUE + OVERHEAD)) as u64);
        let ours = hit_rate(|number| {
            let hit = local.get(&address(tenant, number)).is_some();
            if !hit {
                local.put(address(tenant, number), held(Vec::new(), &stats));
            }
            local.tidy();
            hit
        });
        let mut queue = VecDeque::new();
        let fifo = hit_rate(|number| {
            let hit = queue.contains(&number);
            if !hit {
                queue.push_back(number);
                if queue.len() > ROOM {
                    queue.pop_front();
                }
            }
            hit
        });
        assert!(ours > 0.95 && fifo < 0.6, "hit rates: ours {ours:.3}, first in first out {fifo:.3}");
        assert!(local.entries.weighted_size() <= (ROOM * (VALUE + OVERHEAD)) as u64);
        assert!(stats.happened(Kind::Embedding, Layer::Local, Happening::Eviction) > 10_000);
    }

    #[test]
    fn whoever_looks_right_after_the_end_learns_that_more_time_would_have_helped() {
        let (tenant, lifetime) = (TenantId::new(), Duration::from_millis(20));
        let (stats, local, address) = (stats(tenant), Local::new(1 << 20), address(tenant, 0));
        let life = Life::new(lifetime, false);
        local.put(address, Held { lifetime, life, ..held(Vec::new(), &stats) });
        std::thread::sleep(2 * lifetime);
        let over = local.get(&address);
        assert!(over.as_ref().is_none_or(|held| !held.is_live()));
        assert_eq!(local.loss(&address, &Wanted::ANY, over.as_deref()), Some(Loss::Expired));
        assert_eq!(stats.happened(Kind::Embedding, Layer::Local, Happening::Expiration), 1);
    }

    #[test]
    fn whoever_looks_for_what_made_room_learns_that_once() {
        let tenant = TenantId::new();
        let (stats, local) = (stats(tenant), Local::new(10 * (VALUE + OVERHEAD) as u64));
        for number in 0..20 {
            local.put(address(tenant, number), held(Vec::new(), &stats));
            local.tidy();
        }
        let loss = |number| match local.get(&address(tenant, number)) {
            Some(_) => None,
            None => local.loss(&address(tenant, number), &Wanted::ANY, None),
        };
        assert_eq!((0..20).filter(|number| loss(*number) == Some(Loss::Evicted)).count(), 10);
        assert_eq!((0..20).filter_map(loss).count(), 0);
    }

    #[test]
    fn what_is_held_is_unused_until_a_hit_and_nothing_is_when_it_is_gone() {
        let tenant = TenantId::new();
        let (stats, local) = (stats(tenant), Local::new(1 << 20));
        for number in 0..3 {
            local.put(address(tenant, number), held(Vec::new(), &stats));
        }
        local.get(&address(tenant, 0)).expect("there").use_it();
        let one = (VALUE + OVERHEAD) as u64;
        assert_eq!(stats.signs(Kind::Embedding).take().unused_bytes, 2 * one);
        (0..3).for_each(|number| local.remove(&address(tenant, number)));
        let signs = stats.signs(Kind::Embedding).take();
        assert_eq!((signs.of(Sign::Removed), signs.of(Sign::RemovedUnused), signs.unused_bytes), (3, 2, 0));
    }

    #[test]
    fn what_goes_is_listed_nowhere_and_counted_no_more() {
        let tenant = TenantId::new();
        let (stats, scopes) = (stats(tenant), [ScopeId::random(), ScopeId::random()]);
        let local = Local::new(1 << 20);
        for number in 0..10 {
            local.put(address(tenant, number), held(vec![scopes[number % 2]], &stats));
        }
        local.put(address(tenant, 0), held(vec![scopes[0]], &stats));
        local.tidy();
        assert_eq!(stats.local(Kind::Embedding).0, 10);
        assert_eq!(local.remove_scope(scopes[0]), 5);
        local.remove(&address(tenant, 1));
        local.tidy();
        assert_eq!(stats.local(Kind::Embedding).0, 4);
        assert!(local.get(&address(tenant, 0)).is_none() && local.get(&address(tenant, 3)).is_some());
        local.remove_kinds(tenant, vec![Kind::Recall]);
        assert!(local.get(&address(tenant, 3)).is_some());
        local.remove_kinds(tenant, vec![Kind::Embedding]);
        assert!(local.get(&address(tenant, 3)).is_none());
        local.tidy();
        assert_eq!(stats.local(Kind::Embedding), (0, 0));
        assert!(local.index.lock().expect("not poisoned").is_empty());
    }
}
