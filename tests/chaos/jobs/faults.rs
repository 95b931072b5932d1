//! What is done to the instances: each is killed and started again, or stopped for longer than a lease, in its own time.

use std::fmt;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rand::RngExt;

use crate::jobs::site::{LEASE_SECS, Site, Worker};

#[derive(Debug, Default)]
pub struct Tally {
    pub kills: usize,
    pub stops: usize,
}

pub async fn inject(site: &Site, lasts: Duration) -> Tally {
    let end = Instant::now() + lasts;
    let tallies = join_all(site.workers.iter().map(|worker| torment(worker, end))).await;
    let sum = |count: fn(&Tally) -> usize| tallies.iter().map(count).sum();
    Tally { kills: sum(|tally| tally.kills), stops: sum(|tally| tally.stops) }
}

async fn torment(worker: &Worker, end: Instant) -> Tally {
    let mut tally = Tally::default();
    loop {
        sleep(4_000..14_000).await;
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
