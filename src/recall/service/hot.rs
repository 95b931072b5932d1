//! Recalls that are asked for often, and how to ask them again. They stay in this process, and are bounded: what is
//! not asked for goes first.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::notification::RemovalCause;
use moka::sync::Cache;

use crate::auth::Place;
use crate::cache::Digest;
use crate::config::Warmups;
use crate::ids::{ScopeId, TenantId};
use crate::recall::model::RecallRequest;

/// Recalls that are told apart.
const MOST: u64 = 10_000;

/// What is not asked for in this time is not asked for often.
const REMEMBERED: Duration = Duration::from_secs(300);

/// What a recall is called: its name in the cache.
type Address = (TenantId, Digest);

/// A recall, and how often it was asked for since it was last taken.
pub struct HotRecall {
    pub tenant: TenantId,
    pub place: Place,
    pub request: RecallRequest,
    scopes: Vec<ScopeId>,
    asked: AtomicU32,
}

impl HotRecall {
    pub fn new(tenant: TenantId, place: Place, request: RecallRequest, scopes: Vec<ScopeId>) -> Self {
        Self { tenant, place, request, scopes, asked: AtomicU32::new(0) }
    }
}

/// What lies under which scope.
type Index = Mutex<HashMap<ScopeId, HashSet<Address>>>;

pub struct HotRecalls {
    recalls: Option<Cache<Address, Arc<HotRecall>>>,
    index: Arc<Index>,
    /// So often is often.
    often: u32,
}

impl HotRecalls {
    /// Notes nothing where the settings want nothing warmed again.
    pub fn new(settings: &Warmups) -> Self {
        let index = Arc::<Index>::default();
        let listed = index.clone();
        let recalls = settings.rewarm.then(|| {
            Cache::builder()
                .max_capacity(MOST)
                .time_to_idle(REMEMBERED)
                .eviction_listener(move |address, recall: Arc<HotRecall>, cause| {
                    unlist(&listed, &address, &recall, cause)
                })
                .build()
        });
        Self { recalls, index, often: settings.rewarm_after_hits }
    }

    /// It was asked for. `recall` is made the first time only.
    pub fn note(&self, tenant: TenantId, digest: Digest, recall: impl FnOnce() -> Option<HotRecall>) {
        let Some(recalls) = &self.recalls else { return };
        let address = (tenant, digest);
        if let Some(known) = recalls.get(&address) {
            known.asked.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Some(recall) = recall() else { return };
        recall.asked.store(1, Ordering::Relaxed);
        let recall = Arc::new(recall);
        recalls.insert(address, recall.clone());
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        for scope in &recall.scopes {
            index.entry(*scope).or_default().insert(address);
        }
    }

    /// What depends on these scopes and was asked for often since it was last taken, the most often first. Each counts
    /// from nothing again: what changes more often than it is asked for is not computed in vain.
    pub fn take(&self, scopes: &[ScopeId]) -> Vec<Arc<HotRecall>> {
        let Some(recalls) = &self.recalls else { return Vec::new() };
        let listed: HashSet<Address> = {
            let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
            scopes.iter().filter_map(|scope| index.get(scope)).flatten().copied().collect()
        };
        let mut taken: Vec<(u32, Arc<HotRecall>)> = listed
            .into_iter()
            .filter_map(|address| recalls.get(&address))
            .filter(|recall| recall.asked.load(Ordering::Relaxed) >= self.often)
            .map(|recall| (recall.asked.swap(0, Ordering::Relaxed), recall))
            .collect();
        taken.sort_by_key(|(asked, _)| std::cmp::Reverse(*asked));
        taken.into_iter().map(|(_, recall)| recall).collect()
    }
}

/// A replacement is listed under the same scopes, or under more.
fn unlist(index: &Index, address: &Address, recall: &HotRecall, cause: RemovalCause) {
    if cause == RemovalCause::Replaced {
        return;
    }
    let mut index = index.lock().unwrap_or_else(PoisonError::into_inner);
    for scope in &recall.scopes {
        let Some(listed) = index.get_mut(scope) else { continue };
        listed.remove(address);
        if listed.is_empty() {
            index.remove(scope);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ExternalId;

    fn hot(settings: Warmups) -> HotRecalls {
        HotRecalls::new(&settings)
    }

    fn ask(hot: &HotRecalls, tenant: TenantId, number: u8, scope: ScopeId, times: u32) {
        let place = || Place::Agent(ExternalId::parse("ada").expect("an id"));
        let request = || RecallRequest::plain(format!("question {number}"));
        let digest = Digest::from_bytes(&[number; 24]).expect("a digest");
        for _ in 0..times {
            hot.note(tenant, digest, || Some(HotRecall::new(tenant, place(), request(), vec![scope])));
        }
    }

    fn questions(taken: &[Arc<HotRecall>]) -> Vec<&str> {
        taken.iter().map(|recall| recall.request.query.as_str()).collect()
    }

    #[test]
    fn what_is_asked_for_often_is_taken_once_and_the_most_often_first() {
        let (hot, tenant) = (hot(Warmups::default()), TenantId::new());
        let (own, other) = (ScopeId::random(), ScopeId::random());
        ask(&hot, tenant, 1, own, 2);
        ask(&hot, tenant, 2, own, 3);
        ask(&hot, tenant, 3, own, 9);
        ask(&hot, tenant, 4, other, 9);
        assert_eq!(questions(&hot.take(&[own])), ["question 3", "question 2"]);
        assert!(hot.take(&[own]).is_empty(), "asked for since then by nobody");
        ask(&hot, tenant, 2, own, 3);
        assert_eq!(questions(&hot.take(&[own])), ["question 2"]);
    }

    #[test]
    fn nothing_is_noted_where_nothing_is_warmed_again() {
        let (hot, tenant, scope) =
            (hot(Warmups { rewarm: false, ..Warmups::default() }), TenantId::new(), ScopeId::random());
        ask(&hot, tenant, 1, scope, 9);
        assert!(hot.take(&[scope]).is_empty());
    }

    #[test]
    fn what_goes_is_listed_nowhere() {
        let (hot, tenant) = (hot(Warmups::default()), TenantId::new());
        (0..200).for_each(|number| ask(&hot, tenant, number, ScopeId::random(), 1));
        let recalls = hot.recalls.as_ref().expect("on");
        recalls.invalidate_all();
        recalls.run_pending_tasks();
        assert!(hot.index.lock().expect("not poisoned").is_empty());
    }
}
