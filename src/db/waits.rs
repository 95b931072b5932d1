//! Where connections come from, and how long that takes, by pool: the first thing to grow when there are too few.

use std::time::Instant;

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramVec};
use sqlx::Postgres;
use sqlx::pool::PoolConnection;

use crate::db::Db;
use crate::error::Result;
use crate::telemetry::durations;

/// What a connection is for.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    Gate,
    Search,
    Write,
    Background,
}

#[derive(Clone)]
pub struct Waits {
    each: [Histogram; 4],
    all: HistogramVec,
}

impl Waits {
    /// In the order of `Work`.
    pub fn new(pools: [&str; 4]) -> anyhow::Result<Self> {
        let all =
            durations("cairn_database_wait_seconds", "Time that work waited for a connection, by pool.", &["pool"])?;
        Ok(Self { each: pools.map(|pool| all.with_label_values(&[pool])), all })
    }

    pub fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.all.clone())
    }
}

impl Db {
    /// The one place where requests get their connections; a wait in vain counts too.
    pub(super) async fn lend(&self, work: Work) -> Result<PoolConnection<Postgres>> {
        let (_, pool) = self.pools()[work as usize];
        let started = Instant::now();
        let connection = pool.acquire().await;
        self.waits.each[work as usize].observe(started.elapsed().as_secs_f64());
        Ok(connection?)
    }
}
