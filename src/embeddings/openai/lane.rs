//! What one tenant may do to the provider: its share of the calls, a breaker and a retry budget of its own.
//! A tenant whose texts make the provider fail or hang thereby closes the door for itself alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::anyhow;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout_at;

use super::{Deadline, Failure};
use crate::breaker::{Breaker, Passage};
use crate::config::Embeddings;
use crate::ids::TenantId;

/// From this many lanes on, those that nobody uses are forgotten.
const MANY_LANES: usize = 1_024;

/// A retry costs what ten calls bring in.
const RETRY_COST: u32 = 10;
/// The budget begins with, and never holds more than, three retries.
const FULL_BUDGET: u32 = 3 * RETRY_COST;

/// The lanes of all tenants that called lately.
pub struct Lanes {
    by_tenant: Mutex<HashMap<TenantId, Arc<Lane>>>,
    all_calls: Arc<Semaphore>,
    share: usize,
}

pub struct Lane {
    tenant: TenantId,
    calls: Semaphore,
    all_calls: Arc<Semaphore>,
    state: Mutex<State>,
}

struct State {
    breaker: Breaker,
    retry_budget: u32,
}

impl Lanes {
    pub fn new(settings: &Embeddings) -> Self {
        let all_calls = Arc::new(Semaphore::new(settings.max_calls));
        Self { by_tenant: Mutex::default(), all_calls, share: settings.max_tenant_calls }
    }

    pub fn of(&self, tenant: TenantId) -> Arc<Lane> {
        let mut lanes = locked(&self.by_tenant);
        if lanes.len() >= MANY_LANES && !lanes.contains_key(&tenant) {
            let now = Instant::now();
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1 || lane.is_open(now));
        }
        let lane = || Arc::new(Lane::new(tenant, self.share, self.all_calls.clone()));
        lanes.entry(tenant).or_insert_with(lane).clone()
    }

    /// How many tenants' calls are kept back at this moment.
    pub fn open(&self) -> usize {
        let now = Instant::now();
        locked(&self.by_tenant).values().filter(|lane| lane.is_open(now)).count()
    }
}

impl Lane {
    fn new(tenant: TenantId, share: usize, all_calls: Arc<Semaphore>) -> Self {
        let state = State { breaker: Breaker::closed(), retry_budget: FULL_BUDGET };
        Self { tenant, calls: Semaphore::new(share), all_calls, state: Mutex::new(state) }
    }

    /// Waits for a place among the calls; an open breaker refuses at once.
    pub async fn enter(&self, deadline: Deadline) -> Result<Ticket<'_>, Failure> {
        if self.is_open(Instant::now()) {
            return Err(kept_back());
        }
        // The share first: who waits for it must not hold a place that others could use.
        let places = async { Ok((self.calls.acquire().await?, self.all_calls.acquire().await?)) };
        let places: Result<_, tokio::sync::AcquireError> = timeout_at(deadline.at, places).await.map_err(|_| {
            Failure::Lasting(anyhow!("no call to the provider became free within {:?}", deadline.whole))
        })?;
        let places = places.map_err(|error| Failure::Lasting(error.into()))?;
        let passage = locked(&self.state).breaker.pass(Instant::now()).ok_or_else(kept_back)?;
        Ok(Ticket { lane: self, passage, settled: false, _places: places })
    }

    /// Whether the budget has a retry left; it is spent by asking.
    pub fn spend_retry(&self) -> bool {
        let mut state = locked(&self.state);
        let left = state.retry_budget.checked_sub(RETRY_COST);
        state.retry_budget = left.unwrap_or(state.retry_budget);
        left.is_some()
    }

    /// A first try brings in a tenth of a retry.
    pub fn earn_retry(&self) {
        let mut state = locked(&self.state);
        state.retry_budget = (state.retry_budget + 1).min(FULL_BUDGET);
    }

    fn is_open(&self, now: Instant) -> bool {
        locked(&self.state).breaker.is_open(now)
    }
}

fn kept_back() -> Failure {
    Failure::Lasting(anyhow!("the provider failed repeatedly and is given a pause"))
}

/// The right to make one call; its place is free again when this is dropped.
pub struct Ticket<'a> {
    lane: &'a Lane,
    passage: Passage,
    settled: bool,
    _places: (SemaphorePermit<'a>, SemaphorePermit<'a>),
}

impl Ticket<'_> {
    /// Tells the breaker how the call went.
    pub fn settle<T>(mut self, outcome: &Result<T, Failure>) {
        let now = Instant::now();
        let breaker = &mut locked(&self.lane.state).breaker;
        let was_open = breaker.is_open(now);
        match outcome {
            // A provider that finds a text too long works.
            Ok(_) | Err(Failure::TooLong) => breaker.succeeded(self.passage),
            Err(Failure::Hurried(_)) => breaker.abandoned(self.passage),
            Err(Failure::Lasting(_)) => breaker.failed(self.passage, now, None),
            Err(Failure::Passing { wait, .. }) => breaker.failed(self.passage, now, *wait),
        }
        if !was_open && breaker.is_open(now) {
            tracing::warn!(tenant = %self.lane.tenant, "the embedding provider fails; calls for this tenant pause");
        }
        self.settled = true;
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if !self.settled {
            locked(&self.lane.state).breaker.abandoned(self.passage);
        }
    }
}

/// Nothing that is done under these locks can leave them half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lanes(max_calls: usize, max_tenant_calls: usize) -> Lanes {
        Lanes::new(&Embeddings { max_calls, max_tenant_calls, ..Embeddings::default() })
    }

    fn deadline() -> Deadline {
        Deadline::after(Duration::from_millis(50))
    }

    #[tokio::test]
    async fn a_tenant_that_waits_for_its_share_takes_no_place_from_others() {
        let lanes = lanes(3, 2);
        let (one, other) = (lanes.of(TenantId::new()), lanes.of(TenantId::new()));
        let _held = (one.enter(deadline()).await.is_ok(), one.enter(deadline()).await);
        let held = one.enter(deadline()).await;
        assert!(held.is_ok(), "the first ticket was dropped");
        let (waiting, served) = tokio::join!(one.enter(deadline()), async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            other.enter(deadline()).await
        });
        assert!(waiting.is_err() && served.is_ok());
    }

    #[tokio::test]
    async fn retries_are_a_tenth_of_the_calls_after_a_few_at_first() {
        let lane = lanes(1, 1).of(TenantId::new());
        let mut retries = 0;
        for _ in 0..1_000 {
            lane.earn_retry();
            retries += usize::from(lane.spend_retry());
        }
        assert!((100..=103).contains(&retries), "{retries}");
    }

    #[tokio::test]
    async fn a_breaker_is_of_one_tenant_and_a_probe_given_up_makes_room_for_the_next() {
        let lanes = lanes(4, 4);
        let (tenant, other) = (TenantId::new(), TenantId::new());
        let lane = lanes.of(tenant);
        for _ in 0..5 {
            let failed: Result<(), _> = Err(Failure::Lasting(anyhow!("no")));
            lane.enter(deadline()).await.unwrap_or_else(|_| panic!("closed")).settle(&failed);
        }
        assert!(lane.enter(deadline()).await.is_err() && lanes.open() == 1);
        assert!(lanes.of(other).enter(deadline()).await.is_ok());
        tokio::time::sleep(Duration::from_secs(2)).await;
        drop(lane.enter(deadline()).await.unwrap_or_else(|_| panic!("a probe")));
        lane.enter(deadline()).await.unwrap_or_else(|_| panic!("another probe")).settle(&Ok(()));
        assert!(lanes.open() == 0 && lane.enter(deadline()).await.is_ok());
    }

    #[test]
    fn lanes_that_nobody_uses_are_forgotten() {
        let lanes = lanes(1, 1);
        let kept = TenantId::new();
        let used = lanes.of(kept);
        for _ in 0..3 * MANY_LANES {
            lanes.of(TenantId::new());
        }
        assert!(locked(&lanes.by_tenant).len() <= MANY_LANES);
        assert!(Arc::ptr_eq(&used, &lanes.of(kept)));
    }
}
