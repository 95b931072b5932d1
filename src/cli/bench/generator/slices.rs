//! A closed loop for a moment: so many clients, each with its next call as soon as the last is answered. Cases that
//! are to be compared take turns in short slices, so that what else the machine does hits all of them.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, spawn_blocking};

use crate::cli::bench::generator::caller::{Caller, Target};
use crate::cli::bench::generator::http::Origin;
use crate::cli::latency::Latencies;

pub const SLICE: Duration = Duration::from_millis(500);
/// Before this, nobody looks at the clock.
const WARM_UP: Duration = Duration::from_millis(100);

/// What the clients of one case saw, in all its slices.
#[derive(Debug, Default)]
pub struct Measured {
    /// Of the calls that began in a slice, however long they took.
    pub latencies: Latencies,
    /// Answers that came within a slice.
    answers: u64,
    /// All slices together.
    length: Duration,
    /// This and the next two: of all calls, for a cache that is cold is cold only once.
    pub hits_local: u64,
    pub hits_redis: u64,
    pub misses: u64,
}

impl Measured {
    pub fn calls_per_second(&self) -> f64 {
        self.answers as f64 / self.length.as_secs_f64().max(1e-9)
    }

    /// None where nothing was asked of a cache.
    pub fn hit_ratio(&self) -> Option<f64> {
        let hits = self.hits_local + self.hits_redis;
        let asked = hits + self.misses;
        (asked > 0).then(|| hits as f64 / asked as f64)
    }

    pub fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.answers += other.answers;
        self.length += other.length;
        self.hits_local += other.hits_local;
        self.hits_redis += other.hits_redis;
        self.misses += other.misses;
    }

    fn count(&mut self, origin: Origin) {
        match origin {
            Origin::Local => self.hits_local += 1,
            Origin::Redis => self.hits_redis += 1,
            Origin::Miss => self.misses += 1,
            Origin::Bypass | Origin::Silent => {}
        }
    }
}

/// One slice of a case. The first call that fails ends it.
pub async fn run(target: Target, clients: usize, seed: u64) -> anyhow::Result<Measured> {
    // A thread of its own, as clients elsewhere would have: the servers' threads do the servers' work alone.
    let slice = spawn_blocking(move || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(all(target, clients, seed))
    });
    slice.await.context("a slice ended early")?
}

async fn all(target: Target, clients: usize, seed: u64) -> anyhow::Result<Measured> {
    let target = target.of_this_thread();
    let mut callers = Vec::with_capacity(clients);
    for number in 0..clients as u64 {
        callers.push(target.client(seed + number).await?);
    }
    let begin = Instant::now() + WARM_UP;
    let mut running: JoinSet<anyhow::Result<Measured>> = JoinSet::new();
    for caller in callers {
        running.spawn(one(caller, begin, begin + SLICE));
    }
    let mut measured = Measured::default();
    while let Some(seen) = running.join_next().await {
        measured.add(seen??);
    }
    measured.length = SLICE;
    Ok(measured)
}

async fn one(mut caller: Caller, begin: Instant, end: Instant) -> anyhow::Result<Measured> {
    let mut seen = Measured::default();
    loop {
        let started = Instant::now();
        if started >= end {
            return Ok(seen);
        }
        let origin = caller.call().await?;
        let answered = Instant::now();
        seen.count(origin);
        if (begin..end).contains(&answered) {
            seen.answers += 1;
        }
        if started >= begin {
            seen.latencies.add(answered - started);
        }
    }
}
