//! The scopes that this instance holds in memory. Which of them is up to date, nobody assumes: an index is used only
//! when its tag is the one that Postgres has, and else it catches up first.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use time::OffsetDateTime;
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};

use super::metrics::{Metrics, Outcome};
use super::scope::{Placed, ScopeIndex, Version};
use super::store::{self, Head, NOTHING};
use crate::config::Recall;
use crate::db::{Db, TenantConn};
use crate::error::Result;
use crate::ids::{MemoryId, ScopeId, Tag, TenantId};
use crate::sabotage::{self, Guard};

/// What was too large is not looked at again for so long.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// A scope that is in memory, or will be.
struct Hot {
    tenant: TenantId,
    index: RwLock<Option<ScopeIndex>>,
    /// Held by whoever brings it up to date: others wait for that instead of doing it too.
    turn: Arc<Mutex<()>>,
}

impl Hot {
    fn of(tenant: TenantId) -> Arc<Self> {
        Arc::new(Self { tenant, index: RwLock::default(), turn: Arc::default() })
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<ScopeIndex>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Option<ScopeIndex>> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct HotScopes {
    scopes: Cache<ScopeId, Arc<Hot>>,
    /// Scopes that memory has no room for.
    refused: Cache<ScopeId, ()>,
    /// Scopes are read whole by so many at once.
    loads: Semaphore,
    most_memories: usize,
    budget: usize,
    metrics: Metrics,
}

/// The scopes of one recall, in its order.
pub struct Held {
    tenant: TenantId,
    scopes: Vec<(ScopeId, Arc<Hot>)>,
}

impl Held {
    /// How many memories there are to search.
    pub fn memories(&self) -> usize {
        self.scopes.iter().map(|(_, hot)| hot.read().as_ref().map_or(0, ScopeIndex::len)).sum()
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
            loads: Semaphore::new(settings.hot_loads),
            most_memories: settings.hot_scope_memories,
            budget: settings.hot_index_mb as usize * 1024 * 1024,
            metrics,
        })
    }

    /// None: one of them is too large to be held.
    pub fn hold(&self, tenant: TenantId, scopes: &[ScopeId]) -> Option<Held> {
        if sabotage::is_off(Guard::IndexStays) {
            scopes.iter().filter(|_| rand::random_bool(0.25)).for_each(|scope| self.scopes.invalidate(scope));
        }
        let held = scopes.iter().map(|scope| {
            let refused = self.refused.contains_key(scope);
            (!refused).then(|| (*scope, self.scopes.get_with(*scope, || Hot::of(tenant))))
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

    /// Brings all of them to the commits of one snapshot. False: they cannot be had in memory now, because one of them is
    /// gone or too large, or because too many others are being read.
    pub async fn catch_up(&self, db: &Db, held: &Held) -> Result<bool> {
        let _turns = turns(held).await;
        let mut conn = db.read(held.tenant).await?;
        let ids: Vec<ScopeId> = held.scopes.iter().map(|(scope, _)| *scope).collect();
        let heads = store::heads(&mut conn, held.tenant, &ids).await?;
        let mut behind = Vec::new();
        for (scope, hot) in &held.scopes {
            let Some(head) = heads.iter().find(|head| head.scope_id == *scope) else { return Ok(false) };
            behind.extend(since(hot, head).map(|n| Behind { hot, head, since: n }));
        }
        let cold = behind.iter().any(|one| one.since == NOTHING);
        // Whoever finds no permit is better served by Postgres than by waiting.
        let _permit = match cold.then(|| self.loads.try_acquire()) {
            Some(Err(_)) => return Ok(false),
            Some(Ok(permit)) => Some(permit),
            None => None,
        };
        for one in behind.iter().filter(|one| one.since == NOTHING) {
            if store::is_larger(&mut conn, held.tenant, one.head.scope_id, self.most_memories).await? {
                self.refuse(one.head.scope_id);
                return Ok(false);
            }
        }
        self.read_changes(&mut conn, held.tenant, behind).await
    }

    async fn read_changes(&self, conn: &mut TenantConn, tenant: TenantId, behind: Vec<Behind<'_>>) -> Result<bool> {
        let numbered: Vec<(ScopeId, i64)> = behind.iter().map(|one| (one.head.scope_id, one.since)).collect();
        let mut removals = store::removals(conn, tenant, &numbered).await?;
        let mut placements = store::placements(conn, tenant, &numbered).await?;
        for one in behind {
            let scope = one.head.scope_id;
            let removed = removals.remove(&scope).unwrap_or_default();
            if !self.apply(&one, &removed, placements.remove(&scope).unwrap_or_default()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn apply(&self, behind: &Behind<'_>, removed: &[MemoryId], placed: Vec<Placed>) -> bool {
        let Behind { hot, head, since } = behind;
        let version = Version { tag: head.tag, n: head.n, postmaster: head.postmaster };
        self.metrics.caught_up(if *since == NOTHING { Outcome::Loaded } else { Outcome::CaughtUp });
        let mut slot = hot.write();
        let mut index = slot.take().filter(|_| *since != NOTHING).unwrap_or_else(|| ScopeIndex::new(version));
        let before = index.size();
        let whole = index.apply(version, removed, placed);
        let after = index.size();
        if !whole || index.len() > self.most_memories || after > self.budget {
            std::mem::drop(slot);
            self.refuse(head.scope_id);
            return false;
        }
        *slot = Some(index);
        std::mem::drop(slot);
        if after.abs_diff(before) > before / 8 {
            // Weighed anew, which may send others away.
            self.scopes.insert(head.scope_id, (*hot).clone());
            self.scopes.run_pending_tasks();
            self.metrics.holds(self.scopes.entry_count(), self.scopes.weighted_size() * 1024);
        }
        true
    }

    fn refuse(&self, scope: ScopeId) {
        self.metrics.caught_up(Outcome::Refused);
        self.scopes.invalidate(&scope);
        self.refused.insert(scope, ());
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

/// A scope that is not at the commit of the snapshot.
struct Behind<'a> {
    hot: &'a Arc<Hot>,
    head: &'a Head,
    since: i64,
}

/// From which commit on changes are wanted; None: it is up to date.
fn since(hot: &Hot, head: &Head) -> Option<i64> {
    let index = hot.read();
    let Some(index) = index.as_ref() else { return Some(NOTHING) };
    let Version { tag, n, postmaster } = index.version;
    if tag == head.tag {
        return None;
    }
    // A restored server may count the same numbers again, and notes of removals are not kept for ever.
    let continues = postmaster == head.postmaster && n < head.n && n >= head.floor_n;
    Some(if continues && !index.is_worn() { n } else { NOTHING })
}

/// The turn of each scope, taken in one order by everybody.
async fn turns(held: &Held) -> Vec<OwnedMutexGuard<()>> {
    let mut scopes: Vec<&(ScopeId, Arc<Hot>)> = held.scopes.iter().collect();
    scopes.sort_unstable_by_key(|(scope, _)| *scope);
    scopes.dedup_by_key(|(scope, _)| *scope);
    let mut turns = Vec::with_capacity(scopes.len());
    for (_, hot) in scopes {
        turns.push(hot.turn.clone().lock_owned().await);
    }
    turns
}

fn size(hot: &Hot) -> usize {
    hot.read().as_ref().map_or(0, ScopeIndex::size)
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX)
}
