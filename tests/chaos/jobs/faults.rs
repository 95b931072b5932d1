//! What is done to the instances: each is killed and started again, or stopped for longer than a lease, in its own time.

use std::fmt;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rand::RngExt;
use tokio::sync::Semaphore;

use crate::jobs::site::{LEASE_SECS, Site, Worker};

/// Somebody has to be there to take over, or nothing can be said of how late a run may be.
const MOST_ILL: usize = 3;

#[derive(Debug, Default)]
pub struct Tally {
    pub kills: usize,
    pub stops: usize,
}

pub async fn inject(site: &Site, lasts: Duration) -> Tally {
    let end = Instant::now() + lasts;
    let ill = Semaphore::new(MOST_ILL);
    let tallies = join_all(site.workers.iter().map(|worker| torment(worker, &ill, end))).await;
    let sum = |count: fn(&Tally) -> usize| tallies.iter().map(count).sum();
    Tally { kills: sum(|tally| tally.kills), stops: sum(|tally| tally.stops) }
}

async fn torment(worker: &Worker, ill: &Semaphore, end: Instant) -> Tally {
    let mut tally = Tally::default();
    loop {
        sleep(6_000..24_000).await;
        let _ill = ill.acquire().await.expect("it is never closed");
        if Instant::now() > end {
            return tally;
        }
        if rand::rng().random() {
            worker.kill();
            sleep(0..2_000).await;
            worker.start().await;
            tally.kills += 1;
        } else {
            worker.pause();
            sleep(LEASE_SECS * 1_000 + 500..LEASE_SECS * 1_000 + 5_000).await;
            worker.resume();
            tally.stops += 1;
        }
    }
}

async fn sleep(millis: std::ops::Range<u64>) {
    let millis = rand::rng().random_range(millis);
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} kills, {} stops past the lease", self.kills, self.stops)
    }
}
