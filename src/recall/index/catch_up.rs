//! Bringing scopes in memory to the commits of one snapshot. Few changes are read by whoever asks; many are read aside,
//! and who asks meanwhile is answered by Postgres, sooner than the reading would end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::OwnedMutexGuard;

use super::metrics::Outcome;
use super::scope::{Placed, ScopeIndex, Version};
use super::scopes::{Held, Hot, HotScopes};
use super::store::{self, Head, NOTHING};
use crate::db::{Db, TenantConn};
use crate::error::Result;
use crate::ids::{MemoryId, ScopeId, TenantId};

/// Up to so many changes are read in passing, which takes about as long as it takes Postgres to answer.
const IN_PASSING: usize = 1_000;

/// A scope that is not at the commit of the snapshot.
struct Behind {
    hot: Arc<Hot>,
    head: Head,
    since: i64,
}

impl HotScopes {
    /// False: they cannot be had in memory now, because one of them is gone or too large, or has yet to be read.
    pub async fn catch_up(self: &Arc<Self>, db: &Db, held: &Held) -> Result<bool> {
        let _turns = turns(held).await;
        if held.scopes.iter().any(|(_, hot)| hot.aside.load(Ordering::Relaxed)) {
            return Ok(false);
        }
        let mut conn = db.read(held.tenant).await?;
        let Some(behind) = behind(&mut conn, held.tenant, &held.scopes).await? else { return Ok(false) };
        let mut much = Vec::new();
        for one in &behind {
            let most = self.most_memories.min(IN_PASSING);
            let changed = store::changed(&mut conn, held.tenant, (one.head.scope_id, one.since), most).await?;
            if changed > self.most_memories {
                self.refuse(one.head.scope_id);
                return Ok(false);
            }
            much.extend((changed > IN_PASSING).then(|| (one.head.scope_id, one.hot.clone())));
        }
        if !much.is_empty() {
            much.into_iter().for_each(|scope| self.read_aside(db, held.tenant, scope));
            return Ok(false);
        }
        // Whoever finds no permit is better served by Postgres than by waiting.
        let cold = behind.iter().any(|one| one.since == NOTHING);
        let permit = cold.then(|| self.loads.try_acquire()).transpose();
        match permit {
            Ok(_permit) => self.read(&mut conn, held.tenant, behind).await,
            Err(_) => Ok(false),
        }
    }

    /// Brings a scope up to date beside requests, unless enough others are at it.
    fn read_aside(self: &Arc<Self>, db: &Db, tenant: TenantId, scope: (ScopeId, Arc<Hot>)) {
        let Ok(permit) = self.loads.clone().try_acquire_owned() else { return };
        let aside = Aside::of(scope.1.clone());
        let (index, db) = (self.clone(), db.clone());
        db.runtime().clone().spawn(async move {
            let (_permit, _aside) = (permit, aside);
            if let Err(error) = index.read_whole(&db, tenant, scope).await {
                tracing::warn!(cause = format!("{error:#}"), "a scope could not be read into memory");
            }
        });
    }

    async fn read_whole(&self, db: &Db, tenant: TenantId, scope: (ScopeId, Arc<Hot>)) -> Result<()> {
        let mut conn = db.read_beside(tenant).await?;
        let Some(behind) = behind(&mut conn, tenant, std::slice::from_ref(&scope)).await? else { return Ok(()) };
        for one in &behind {
            let since = (one.head.scope_id, one.since);
            if store::changed(&mut conn, tenant, since, self.most_memories).await? > self.most_memories {
                self.refuse(one.head.scope_id);
                return Ok(());
            }
        }
        self.read(&mut conn, tenant, behind).await.map(drop)
    }

    async fn read(&self, conn: &mut TenantConn, tenant: TenantId, behind: Vec<Behind>) -> Result<bool> {
        let since: Vec<(ScopeId, i64)> = behind.iter().map(|one| (one.head.scope_id, one.since)).collect();
        let mut removals = store::removals(conn, tenant, &since).await?;
        let mut placements = store::placements(conn, tenant, &since).await?;
        for one in behind {
            let scope = one.head.scope_id;
            let removed = removals.remove(&scope).unwrap_or_default();
            if !self.apply(&one, &removed, placements.remove(&scope).unwrap_or_default()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn apply(&self, behind: &Behind, removed: &[MemoryId], placed: Vec<Placed>) -> bool {
        let Behind { hot, head, since } = behind;
        let version = Version { tag: head.tag, n: head.n, postmaster: head.postmaster };
        self.metrics.caught_up(if *since == NOTHING { Outcome::Loaded } else { Outcome::CaughtUp });
        let mut slot = hot.write();
        let mut index = slot.take().filter(|_| *since != NOTHING).unwrap_or_else(|| ScopeIndex::new(version));
        let before = index.size();
        let whole = index.apply(version, removed, placed);
        let after = index.size();
        if !whole || index.memories() > self.most_memories || after > self.budget {
            drop(slot);
            self.refuse(head.scope_id);
            return false;
        }
        *slot = Some(index);
        drop(slot);
        if after.abs_diff(before) > before / 8 {
            self.weigh(head.scope_id, hot);
        }
        true
    }
}

/// While it is there, a scope is brought up to date aside, by one, and nobody else reads it.
struct Aside(Arc<Hot>);

impl Aside {
    /// For whoever has the turn.
    fn of(hot: Arc<Hot>) -> Self {
        hot.aside.store(true, Ordering::Relaxed);
        Self(hot)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.0.aside.store(false, Ordering::Relaxed);
    }
}

/// Those of these scopes that are behind the snapshot; None: one of them is gone.
async fn behind(
    conn: &mut TenantConn,
    tenant: TenantId,
    scopes: &[(ScopeId, Arc<Hot>)],
) -> Result<Option<Vec<Behind>>> {
    let ids: Vec<ScopeId> = scopes.iter().map(|(scope, _)| *scope).collect();
    let heads = store::heads(conn, tenant, &ids).await?;
    let mut behind = Vec::new();
    for (scope, hot) in scopes {
        let Some(head) = heads.iter().find(|head| head.scope_id == *scope) else { return Ok(None) };
        let since = since(hot, head);
        behind.extend(since.map(|since| Behind { hot: hot.clone(), head: head.clone(), since }));
    }
    Ok(Some(behind))
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
