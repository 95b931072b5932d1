//! What one tenant or principal has used: its buckets, and its requests that are under way.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::rates::bucket::{Bucket, Spent, demand};
use crate::rates::instances::Instances;
use crate::rates::rule::{Payer, Rate, Resource};
use crate::redis::Redis;

pub struct Meter {
    pub payer: Payer,
    requests: Counter,
    tokens: Counter,
    running: Arc<AtomicU32>,
    /// Only to forget meters that nobody reads any more.
    touched: Mutex<Instant>,
}

#[derive(Default)]
struct Counter {
    bucket: Mutex<Bucket>,
    /// Held by who asks Redis: the others wait for what it brings back.
    asking: tokio::sync::Mutex<()>,
}

/// Where shared counts are kept.
pub struct Shared {
    pub redis: Option<Redis>,
    pub prefix: String,
    pub instances: Instances,
}

/// The right to have a request under way, until this is dropped.
#[derive(Debug)]
pub struct Permit(Arc<AtomicU32>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Meter {
    pub fn new(payer: Payer, now: Instant) -> Self {
        let (requests, tokens) = (Counter::default(), Counter::default());
        Self { payer, requests, tokens, running: Arc::default(), touched: Mutex::new(now) }
    }

    pub fn touch(&self, now: Instant) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    pub fn idle_since(&self) -> Instant {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    pub fn begin(&self, most: u32) -> Option<Permit> {
        let more = |running| (running < most).then_some(running + 1);
        let begun = self.running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        begun.ok().map(|_| Permit(self.running.clone()))
    }

    pub fn bucket(&self, resource: Resource) -> MutexGuard<'_, Bucket> {
        self.counter(resource).bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counter(&self, resource: Resource) -> &Counter {
        if resource == Resource::Tokens { &self.tokens } else { &self.requests }
    }

    /// None: it is taken. Otherwise when to come again.
    pub async fn take(&self, shared: &Shared, resource: Resource, most: NonZeroU32, cost: u64) -> Option<Instant> {
        let charge = Charge { resource, rate: Rate::of(resource, most), cost, instances: shared.instances.count() };
        let mut spent = self.spend(charge);
        if spent == Spent::Unknown {
            let _turn = self.counter(resource).asking.lock().await;
            // Who asked before may have brought enough for both.
            spent = self.spend(charge);
            if spent == Spent::Unknown {
                spent = self.ask(shared, charge).await;
            }
        }
        match spent {
            Spent::No(until) => Some(until),
            Spent::Yes | Spent::Unknown => None,
        }
    }

    fn spend(&self, charge: Charge) -> Spent {
        let (mut bucket, now) = (self.bucket(charge.resource), Instant::now());
        let spent = bucket.spend(charge.cost, now);
        if spent == Spent::Yes {
            bucket.note(charge.rate, charge.instances, charge.cost, now);
        }
        spent
    }

    async fn ask(&self, shared: &Shared, charge: Charge) -> Spent {
        let Charge { resource, rate, cost, instances } = charge;
        let taken = match &shared.redis {
            Some(redis) => {
                let key = self.payer.key(&shared.prefix, resource);
                let ahead = resource == Resource::Requests;
                redis.take(demand(key, rate, cost, ahead)).await.ok()
            }
            None => None,
        };
        let (mut bucket, now) = (self.bucket(resource), Instant::now());
        let Some(taken) = taken else { return bucket.spend_share(rate, instances, cost, now) };
        let spent = bucket.settle(cost, taken, now);
        if spent == Spent::Yes {
            bucket.note(rate, instances, cost, now);
        }
        spent
    }
}

/// What is to be taken, and how many instances share the rate.
#[derive(Clone, Copy)]
struct Charge {
    resource: Resource,
    rate: Rate,
    cost: u64,
    instances: usize,
}
