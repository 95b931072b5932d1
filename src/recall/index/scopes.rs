//! The scopes that this instance holds in memory. Which of them is up to date, nobody assumes: an index is used only
//! when its tag is the one that Postgres has, and else it catches up first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use time::OffsetDateTime;
use tokio::sync::{Mutex, Semaphore};

use super::metrics::{Metrics, Outcome};
use super::scope::ScopeIndex;
use crate::config::Recall;
use crate::ids::{ScopeId, Tag, TenantId};
use crate::sabotage::{self, Guard};

/// What was too large is not looked at again for so long.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// A scope that is in memory, or will be.
pub(super) struct Hot {
    tenant: TenantId,
    index: RwLock<Option<ScopeIndex>>,
    /// Held by whoever brings it up to date: others wait for that instead of doing it too.
    pub turn: Arc<Mutex<()>>,
    /// Set while it is brought up to date aside, which takes so long that nobody waits for it.
    pub aside: AtomicBool,
}

impl Hot {
    fn of(tenant: TenantId) -> Arc<Self> {
        Arc::new(Self { tenant, index: RwLock::default(), turn: Arc::default(), aside: AtomicBool::new(false) })
    }

    pub fn read(&self) -> RwLockReadGuard<'_, Option<ScopeIndex>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, Option<ScopeIndex>> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct HotScopes {
    scopes: Cache<ScopeId, Arc<Hot>>,
    /// Scopes that memory has no room for.
    refused: Cache<ScopeId, ()>,
    /// Scopes are read whole by so many at once.
    pub(super) loads: Arc<Semaphore>,
    pub(super) most_memories: usize,
    pub(super) budget: usize,
    pub(super) metrics: Metrics,
}

/// The scopes of one recall, in its order.
pub struct Held {
    pub(super) tenant: TenantId,
    pub(super) scopes: Vec<(ScopeId, Arc<Hot>)>,
}

impl Held {
    /// How many memories there are to search.
    pub fn memories(&self) -> usize {
        self.scopes.iter().map(|(_, hot)| hot.read().as_ref().map_or(0, ScopeIndex::memories)).sum()
    }
}

/// What was found, and the commits it was found at.
pub struct Seen<T> {
    pub found: T,
    pub tags: Vec<Tag>,
    /// When it changes by itself.
    pub next_expiry: Option<OffsetDateTime>,
}

impl HotScopes {
    /// None: the settings give it no memory.
    pub fn new(settings: &Recall, metrics: Metrics) -> Option<Self> {
        let evicted = metrics.clone();
        let scopes = Cache::builder()
            .max_capacity(settings.hot_index_mb * 1024)
            .weigher(|_, hot: &Arc<Hot>| kib(size(hot)))
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |_, _, cause| {
                if cause.was_evicted() {
                    evicted.evicted();
                }
            })
            .build();
        (settings.hot_index_mb > 0).then(|| Self {
            scopes,
            refused: Cache::builder().max_capacity(10_000).time_to_live(REFUSED_FOR).build(),
            loads: Arc::new(Semaphore::new(settings.hot_loads)),
            most_memories: settings.hot_scope_memories,
            budget: settings.hot_index_mb as usize * 1024 * 1024,
            metrics,
        })
    }

    /// None: one of them is too large to be held, or is being read.
    pub fn hold(&self, tenant: TenantId, scopes: &[ScopeId]) -> Option<Held> {
        if sabotage::is_off(Guard::IndexStays) {
            scopes.iter().filter(|_| rand::random_bool(0.25)).for_each(|scope| self.scopes.invalidate(scope));
        }
        let held = scopes.iter().map(|scope| {
            let refused = self.refused.contains_key(scope);
            let hot = (!refused).then(|| self.scopes.get_with(*scope, || Hot::of(tenant)))?;
            (!hot.aside.load(Ordering::Relaxed)).then_some((*scope, hot))
        });
        Some(Held { tenant, scopes: held.collect::<Option<_>>()? })
    }

    /// Lets go of scopes, whose memories are gone for good.
    pub fn drop(&self, scopes: &[ScopeId]) {
        scopes.iter().for_each(|scope| self.scopes.invalidate(scope));
    }

    /// Lets go of all that this tenant has.
    pub fn drop_all_of(&self, tenant: TenantId) {
        let theirs = self.scopes.iter().filter(|(_, hot)| hot.tenant == tenant);
        theirs.for_each(|(scope, _)| self.scopes.invalidate(&*scope));
    }

    pub(super) fn refuse(&self, scope: ScopeId) {
        self.metrics.caught_up(Outcome::Refused);
        self.scopes.invalidate(&scope);
        self.refused.insert(scope, ());
    }

    /// Takes notice of what a scope takes now, which may send others away. One that had to leave stays away.
    pub(super) fn weigh(&self, scope: ScopeId, hot: &Arc<Hot>) {
        if self.scopes.get(&scope).is_some_and(|held| Arc::ptr_eq(&held, hot)) {
            self.scopes.insert(scope, hot.clone());
            self.scopes.run_pending_tasks();
            self.metrics.holds(self.scopes.entry_count(), self.scopes.weighted_size() * 1024);
        }
    }

    /// What is found in these scopes as they are now; None: one of them has not been read yet.
    pub fn search<T>(
        &self,
        held: &Held,
        now: OffsetDateTime,
        find: impl FnOnce(&[(ScopeId, &ScopeIndex)]) -> T,
    ) -> Option<Seen<T>> {
        for (_, hot) in &held.scopes {
            let expired = |index: &ScopeIndex| index.next_expiry().is_some_and(|at| at <= now);
            if hot.read().as_ref().is_some_and(expired) {
                hot.write().as_mut()?.expire(now);
            }
        }
        let mut order: Vec<usize> = (0..held.scopes.len()).collect();
        // In one order for everybody, or two readers could each wait for a writer that the other keeps waiting.
        order.sort_unstable_by_key(|place| held.scopes[*place].0);
        let mut locked: Vec<_> = order.iter().map(|place| (*place, held.scopes[*place].1.read())).collect();
        locked.sort_unstable_by_key(|(place, _)| *place);
        let indexes = locked.iter().map(|(place, index)| Some((held.scopes[*place].0, index.as_ref()?)));
        let indexes: Vec<(ScopeId, &ScopeIndex)> = indexes.collect::<Option<_>>()?;
        Some(Seen {
            found: find(&indexes),
            tags: indexes.iter().map(|(_, index)| index.version.tag).collect(),
            next_expiry: indexes.iter().filter_map(|(_, index)| index.next_expiry()).min(),
        })
    }

    /// Whether all of them are at these commits.
    pub fn is_at(&self, held: &Held, tags: &[Option<Tag>]) -> bool {
        let at = |hot: &Hot| hot.read().as_ref().map(|index| index.version.tag);
        let as_wanted = |one: Option<Tag>, wanted| one == wanted || sabotage::is_off(Guard::IndexTag);
        held.scopes.iter().zip(tags).all(|((_, hot), tag)| at(hot).is_some_and(|at| as_wanted(Some(at), *tag)))
    }
}

fn size(hot: &Hot) -> usize {
    hot.read().as_ref().map_or(0, ScopeIndex::size)
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX)
}
