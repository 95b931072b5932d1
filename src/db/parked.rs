//! Connections between two calls. sqlx's pool asks Postgres after each use whether a connection still lives, which
//! wakes Postgres once more for every call. One whose call was answered to the end is known to live: it waits here for
//! the next, for a moment.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::db::PAUSE;
use crate::error::{Error, Result};

/// After so many calls in a row it goes back to the pool, which knows how old it may become.
const MOST_CALLS: u32 = 1_000;

/// A pool, and what is parked of its connections.
#[derive(Clone)]
pub(super) struct Lot {
    pub pool: PgPool,
    /// One for each connection that there may be. Whoever has one finds a connection here or in the pool: those that
    /// are parked are never missed there.
    permits: Arc<Semaphore>,
    parked: Arc<Mutex<Vec<Parked>>>,
}

struct Parked {
    connection: PoolConnection<Postgres>,
    since: Instant,
    calls: u32,
}

/// A connection on loan, for its so many-th call in a row; without further ado, it goes back to the pool.
pub(super) struct Lent {
    pub connection: PoolConnection<Postgres>,
    pub calls: u32,
    /// To be given back after the connection is.
    pub permit: OwnedSemaphorePermit,
}

impl Lot {
    pub fn of(pool: PgPool) -> Self {
        let permits = Arc::new(Semaphore::new(pool.options().get_max_connections() as usize));
        Self { pool, permits, parked: Arc::default() }
    }

    pub async fn lend(&self) -> Result<Lent> {
        let closed = |_| Error::from(sqlx::Error::PoolClosed);
        let permit = self.permits.clone().acquire_owned().await.map_err(closed)?;
        let (connection, calls) = match self.unpark() {
            Some(Parked { connection, calls, .. }) => (connection, calls + 1),
            None => (self.pool.acquire().await?, 1),
        };
        Ok(Lent { connection, calls, permit })
    }

    /// The one that was used last; what waited too long goes back to the pool, which looks after it.
    fn unpark(&self) -> Option<Parked> {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        let last = parked.pop()?;
        if last.since.elapsed() < PAUSE {
            return Some(last);
        }
        parked.clear();
        None
    }

    /// Keeps a connection for the next. Nothing is under way on it, and no transaction is open.
    pub fn park(&self, connection: PoolConnection<Postgres>, calls: u32) {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        if calls < MOST_CALLS && !self.permits.is_closed() {
            parked.push(Parked { connection, since: Instant::now(), calls });
        }
    }

    /// How many are parked.
    pub fn parked(&self) -> usize {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Hands out no more.
    pub async fn close(&self) {
        self.permits.close();
        self.parked.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.pool.close().await;
    }
}
