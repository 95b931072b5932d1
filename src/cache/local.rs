//! The layer in this process: bounded by bytes; what is used often stays (TinyLFU). It follows the same rules as
//! Redis, so it is right while Redis is away, and useful too.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::notification::RemovalCause;
use moka::sync::Cache;

use crate::cache::Kind;
use crate::cache::entry::Entry;
use crate::cache::key::Digest;
use crate::cache::stats::{Happening, Layer, TenantStats};
use crate::ids::{ScopeId, TenantId};

/// What an entry takes besides its value: keys, stamp, counters, its places in maps; an estimate, rounded up.
const OVERHEAD: usize = 320;
/// The same for each scope it is listed under.
const OVERHEAD_OF_SCOPE: usize = 96;

/// Digests are made with a secret of the tenant; the tenant's id only helps to clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    pub tenant: TenantId,
    pub digest: Digest,
}

pub(super) struct Held {
    pub entry: Entry,
    pub kind: Kind,
    /// Whose changes make it worthless.
    pub scopes: Vec<ScopeId>,
    pub lifetime: Duration,
    pub stats: Arc<TenantStats>,
}

impl Held {
    fn bytes(&self) -> usize {
        self.entry.value.len() + OVERHEAD + self.scopes.len() * OVERHEAD_OF_SCOPE
    }
}

pub(super) struct Local {
    entries: Cache<Address, Arc<Held>>,
    index: Arc<Index>,
}

/// What lies under which scope. It may list what is gone, never for long.
type Index = Mutex<HashMap<ScopeId, HashSet<Address>>>;

struct OwnLifetime;

impl Expiry<Address, Arc<Held>> for OwnLifetime {
    fn expire_after_create(&self, _: &Address, held: &Arc<Held>, _: Instant) -> Option<Duration> {
        Some(held.lifetime)
    }

    fn expire_after_update(&self, _: &Address, held: &Arc<Held>, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(held.lifetime)
    }
}

impl Local {
    pub fn new(bytes: u64) -> Self {
        let index = Arc::<Index>::default();
        let listed = index.clone();
        let entries = Cache::builder()
            .max_capacity(bytes)
            .weigher(|_, held: &Arc<Held>| held.bytes().try_into().unwrap_or(u32::MAX))
            .expire_after(OwnLifetime)
            .eviction_listener(move |address, held, cause| removed(&listed, &address, &held, cause))
            .support_invalidation_closures()
            .build();
        Self { entries, index }
    }

    pub fn get(&self, address: &Address) -> Option<Arc<Held>> {
        self.entries.get(address)
    }

    pub fn put(&self, address: Address, held: Held) {
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

    /// Everything that depends on one of these scopes.
    pub fn remove_scopes(&self, scopes: &[ScopeId]) {
        for scope in scopes {
            let listed = self.index.lock().unwrap_or_else(PoisonError::into_inner).remove(scope);
            listed.into_iter().flatten().for_each(|address| self.entries.invalidate(&address));
        }
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

fn removed(index: &Index, address: &Address, held: &Held, cause: RemovalCause) {
    held.stats.held(held.kind, -1, -(held.bytes() as i64));
    match cause {
        RemovalCause::Size => held.stats.count(held.kind, Layer::Local, Happening::Eviction),
        RemovalCause::Expired => held.stats.count(held.kind, Layer::Local, Happening::Expiration),
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
    use crate::cache::entry::Cost;
    use crate::cache::stats::Stats;

    const VALUE: usize = 768;

    fn held(scopes: Vec<ScopeId>, stats: &Arc<TenantStats>) -> Held {
        let entry = Entry {
            stamp: None,
            made_at: 0,
            valid_until: i64::MAX,
            cost: Cost::default(),
            value: vec![0; VALUE].into(),
        };
        Held { entry, kind: Kind::Embedding, scopes, lifetime: Duration::from_secs(60), stats: stats.clone() }
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
        local.remove_scopes(&scopes[..1]);
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
