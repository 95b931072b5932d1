//! The connections that requests pass the gate by. Every call does, so each HTTP worker has its own, opened on its own
//! thread and used there alone: a call wakes no other thread, and a worker that stalls keeps nobody else waiting.
//! What they run is one statement outside of any transaction, so that a call cut off in the middle leaves nothing
//! behind but a connection, which is closed.
//!
//! sqlx's own pool would ask Postgres after each use whether the connection still lives; these are asked after a pause.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use deadpool::managed::{Manager, Metrics, Pool, PoolError, RecycleError, RecycleResult};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection as _, PgConnection};
use tokio::time::{sleep, timeout};

use crate::db::door::Door;
use crate::db::waits::{Waits, Work};
use crate::db::{PATIENCE, PAUSE};
use crate::error::{Code, Error, Result};

/// A connection is not used for longer, so that Postgres gets its memory back.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// A Postgres that is just starting is asked again after so long.
const RETRY: Duration = Duration::from_millis(20);

pub(super) type Connections = Pool<Opener>;

/// The way of one thread to the gate.
pub struct Gate {
    pub(super) connections: Connections,
    pub(super) acquire: Duration,
    pub(super) waits: Waits,
    pub(super) door: Door,
}

pub(super) struct Opener(pub PgConnectOptions);

pub(super) struct Connection {
    postgres: PgConnection,
    /// Or failed: what comes next on it may be the answer to something else.
    awaits_answer: bool,
}

impl Gate {
    /// Runs one statement.
    pub async fn ask<T>(&self, ask: impl AsyncFnOnce(&mut PgConnection) -> Result<T>) -> Result<T> {
        match self.answer(ask).await {
            Err(error) => Err(self.door.explain(error).await),
            answered => answered,
        }
    }

    async fn answer<T>(&self, ask: impl AsyncFnOnce(&mut PgConnection) -> Result<T>) -> Result<T> {
        let started = Instant::now();
        let lent = timeout(self.acquire, self.lend()).await;
        self.waits.observe(Work::Gate, started.elapsed());
        let mut connection = lent.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        connection.awaits_answer = true;
        let answer = timeout(PATIENCE, ask(&mut connection.postgres)).await.unwrap_or_else(|_| {
            let cause = anyhow::anyhow!("the gate took longer than {PATIENCE:?}");
            Err(Error::unavailable(Code::Timeout, "the database does not answer; try again", cause))
        });
        connection.awaits_answer = answer.is_err();
        if let Err(Error::Unavailable { code: Code::DependencyUnavailable, .. }) = &answer {
            // Whatever took this connection took the others.
            self.connections.retain(|_, _| false);
        }
        answer
    }

    /// Waits for a Postgres that is on its way, as long as the caller does.
    async fn lend(&self) -> Result<deadpool::managed::Object<Opener>, sqlx::Error> {
        loop {
            match self.connections.get().await {
                Ok(connection) => return Ok(connection),
                Err(PoolError::Backend(error)) if is_on_its_way(&error) => sleep(RETRY).await,
                Err(PoolError::Backend(error)) => return Err(error),
                Err(_) => return Err(sqlx::Error::PoolClosed),
            }
        }
    }
}

fn is_on_its_way(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == ErrorKind::ConnectionRefused,
        sqlx::Error::Database(error) => error.is_transient_in_connect_phase(),
        _ => false,
    }
}

impl Manager for Opener {
    type Type = Connection;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<Connection, sqlx::Error> {
        Ok(Connection { postgres: self.0.connect().await?, awaits_answer: false })
    }

    async fn recycle(&self, connection: &mut Connection, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        if connection.awaits_answer {
            return Err(RecycleError::message("an answer is still under way"));
        }
        if metrics.age() > LIFETIME {
            return Err(RecycleError::message("it is old"));
        }
        if metrics.last_used() > PAUSE {
            connection.postgres.ping().await?;
        }
        Ok(())
    }
}
