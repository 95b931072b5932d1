//! Calls at a steady pace, whether or not the ones before are answered: a server that is slow is not asked less.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use hyper::body::Bytes;
use serde::Serialize;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, spawn_blocking};

use crate::cli::bench::generator::{Address, Call};
use crate::cli::latency::Latencies;

/// What one call is, by its number.
pub type Calls = Arc<dyn Fn(u64) -> (Call, Bytes) + Send + Sync>;

/// How fast, over how many connections, for how long.
#[derive(Clone, Copy)]
pub struct Pace {
    pub per_second: u32,
    pub connections: usize,
    pub length: Duration,
}

/// What became of calls.
#[derive(Default, Serialize)]
pub struct Seen {
    /// From the moment that a call was due.
    #[serde(skip)]
    pub latencies: Latencies,
    statuses: BTreeMap<u16, u64>,
    /// 429 that say when to come again.
    told_when: u64,
}

impl Seen {
    pub fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.told_when += other.told_when;
    }

    pub fn failures(&self) -> u64 {
        self.statuses.iter().filter(|(status, _)| **status >= 400).map(|(_, count)| count).sum()
    }

    /// The share of refusals that say when to come again.
    pub fn told_when(&self) -> Option<f64> {
        let refused = *self.statuses.get(&429)?;
        Some(self.told_when as f64 / refused as f64)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statuses: Vec<_> = self.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        out.write_str(&statuses.join(", "))
    }
}

/// On a thread of its own, as callers elsewhere would be.
pub async fn run(address: Address, pace: Pace, calls: Calls) -> anyhow::Result<Seen> {
    let all = spawn_blocking(move || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(all(address, pace, calls))
    });
    all.await.context("a slice ended early")?
}

async fn all(address: Address, pace: Pace, calls: Calls) -> anyhow::Result<Seen> {
    let (begin, next) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut running: JoinSet<anyhow::Result<Seen>> = JoinSet::new();
    for _ in 0..pace.connections {
        running.spawn(one(address.clone(), pace, calls.clone(), begin, next.clone()));
    }
    let mut seen = Seen::default();
    while let Some(one) = running.join_next().await {
        seen.add(one??);
    }
    Ok(seen)
}

async fn one(address: Address, pace: Pace, calls: Calls, begin: Instant, next: Arc<AtomicU64>) -> anyhow::Result<Seen> {
    let (mut seen, mut connection) = (Seen::default(), address.connect().await?);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let due = Duration::from_secs_f64(number as f64 / f64::from(pace.per_second));
        // What could not be sent within the time is not sent at all.
        if due >= pace.length || begin.elapsed() >= pace.length {
            return Ok(seen);
        }
        tokio::time::sleep_until((begin + due).into()).await;
        let (call, body) = calls(number);
        // A server that refuses without reading a large body hangs up after its answer.
        let reply = match connection.send(&call, body.clone()).await {
            Ok(reply) => reply,
            Err(_) => {
                connection = address.connect().await?;
                connection.send(&call, body).await?
            }
        };
        seen.latencies.add((begin + due).elapsed());
        *seen.statuses.entry(reply.status).or_default() += 1;
        seen.told_when += u64::from(reply.status == 429 && reply.says_when);
    }
}
