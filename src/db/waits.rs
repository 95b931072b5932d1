//! Where connections come from, and how long that takes, by pool: the first thing to grow when there are too few.

use std::time::{Duration, Instant};

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramVec};
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::db::Db;
use crate::db::parked::Lent;
use crate::error::Result;
use crate::ids::TenantId;
use crate::telemetry::durations;
use crate::turns::Turn;

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

    pub fn observe(&self, work: Work, waited: Duration) {
        self.each[work as usize].observe(waited.as_secs_f64());
    }

    pub fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.all.clone())
    }
}

/// A connection, and what is given back after it.
pub(super) struct Loan {
    pub connection: PoolConnection<Postgres>,
    pub claim: Claim,
}

/// What a connection is held by: the turn at it and the place among those that there are, and how many calls it has had.
pub(super) struct Claim {
    pub calls: u32,
    _turn: Option<Turn>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Db {
    /// The one place where requests get their connections; a wait in vain counts too. None: on nobody's behalf.
    pub(super) async fn lend(&self, work: Work, tenant: Option<TenantId>) -> Result<Loan> {
        let pool = self.pools()[work as usize];
        let started = Instant::now();
        let lent = timeout(pool.options().get_acquire_timeout(), async {
            let turn = match tenant {
                Some(tenant) => self.queues.turn(work, tenant).await?,
                None => None,
            };
            let (connection, calls, permit) = match self.lot(work) {
                Some(lot) => {
                    let Lent { connection, calls, permit } = lot.lend().await?;
                    (connection, calls, Some(permit))
                }
                None => (pool.acquire().await?, 0, None),
            };
            Ok(Loan { connection, claim: Claim { calls, _turn: turn, _permit: permit } })
        });
        let lent = lent.await.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut.into()));
        self.waits.observe(work, started.elapsed());
        lent
    }
}
