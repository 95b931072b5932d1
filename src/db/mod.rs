//! The way to Postgres: pools, connections bound to a tenant, the write transaction, migrations.
//! Knows no feature; SQL about tenants, agents or memories lives in their stores.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use deadpool::Status;
use deadpool::managed::WeakPool;
use futures_util::future::join_all;
use prometheus::core::Collector;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgPool};
use tokio::runtime::Handle;
use tracing::Instrument;

use crate::config::Database;
use crate::error::{Code, Error, Result};
use crate::events::Bus;

mod door;
pub mod embedded;
mod fair;
mod gate;
mod idempotency;
mod migrate;
mod owner;
mod parked;
mod selfcheck;
mod tenant;
mod waits;
mod write;

use door::Door;
use fair::Queues;
use gate::{Connections, Opener};
use parked::Lot;
use waits::{Waits, Work};

pub use gate::Gate;
pub use idempotency::{Fingerprint, Idempotency, Intent, RECEIPTS_KEPT, purge_receipts};
pub use migrate::{MIGRATOR, migrate, pending_migrations};
pub use selfcheck::self_check;
pub use tenant::{CallConn, TenantConn};
pub use write::{Attempt, WriteCall, WriteTx, retrying};

/// How long a caller waits for a unit of work. Postgres ends statements long before; this is for one that is no
/// longer there and has not said so.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long work that nobody waits for may hold up the end of the process.
const CLOSE_PATIENCE: Duration = Duration::from_secs(4);

/// After a pause as long as this, a connection may have been lost.
const PAUSE: Duration = Duration::from_secs(2);

/// What the pools are called in metrics.
const POOLS: [&str; 4] = ["gate", "search", "write", "background"];

/// Four pools over one role, so that no kind of work can starve another, and the runtime they live on.
#[derive(Clone)]
pub struct Db {
    /// For those who ask the gate beside requests.
    gate: PgPool,
    /// How a worker opens connections of its own, and those that workers have.
    gates: Arc<Gates>,
    search: Lot,
    write: Lot,
    background: PgPool,
    waits: Waits,
    queues: Queues,
    bus: Bus,
    runtime: Handle,
    door: Door,
    owner: Arc<PgConnectOptions>,
}

impl Db {
    /// Opens the pools lazily: a database that is down makes requests fail, not the process.
    pub fn open(settings: &Database, options: &PgConnectOptions, runtime: Handle, bus: Bus) -> anyhow::Result<Self> {
        let _inside = runtime.enter();
        let acquire = Duration::from_millis(settings.acquire_timeout_ms);
        let pool = |size, name, timeout_ms| pool_of(size, acquire, session(options, "cairn_app", name, timeout_ms));
        // Writes look rows up by their keys; planning each anew would take longer than running it.
        let write = session(options, "cairn_app", "cairn write", settings.write_timeout_ms)
            .options([("plan_cache_mode", "force_generic_plan")]);
        let queues = Queues::new(settings)?;
        Ok(Self {
            // Asked rarely, so that its connection may have been lost; it is pinged before use.
            gate: PgPoolOptions::new().max_connections(1).acquire_timeout(acquire).connect_lazy_with(session(
                options,
                "cairn_app",
                "cairn gate",
                settings.read_timeout_ms,
            )),
            gates: Arc::new(Gates {
                options: session(options, "cairn_app", "cairn gate", settings.read_timeout_ms),
                connections: settings.gate_connections,
                acquire,
                opened: Mutex::default(),
            }),
            search: Lot::of(pool(settings.search_connections, "cairn search", settings.read_timeout_ms)),
            write: Lot::of(pool_of(settings.write_connections, acquire, write)),
            background: pool(settings.background_connections, "cairn background", 60_000),
            waits: Waits::new(POOLS)?,
            queues,
            bus,
            runtime: runtime.clone(),
            door: Door::of(options),
            owner: Arc::new(owner::login(settings, options)?),
        })
    }

    /// Runs a unit of work in a task of its own on the database runtime. A caller that goes away
    /// no longer waits for it, but never cuts it off in the middle of a transaction; and a
    /// connection lives on a runtime that is not one of the HTTP workers.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let Ok(done) = tokio::time::timeout(PATIENCE, self.runtime.spawn(work.in_current_span())).await else {
            let cause = anyhow::anyhow!("a unit of work took longer than {PATIENCE:?}");
            return Err(Error::unavailable(Code::Timeout, "the database does not answer; try again", cause));
        };
        match done {
            Ok(Err(error)) => Err(self.door.explain(error).await),
            Ok(done) => done,
            Err(error) => Err(Error::Internal(anyhow::Error::new(error).context("a unit of work ended early"))),
        }
    }

    /// Where connections live: work that is to outlive a request belongs there too.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Autocommit statements only: a connection of this pool is never inside a transaction.
    pub fn gate(&self) -> &PgPool {
        &self.gate
    }

    /// The way to the gate for this thread, one of so many that share the connections.
    pub fn gate_of_worker(&self, workers: usize) -> Gate {
        let share = (self.gates.connections as usize).saturating_sub(1) / workers.max(1);
        let connections = Connections::builder(Opener(self.gates.options.clone())).max_size(share.max(1)).build();
        // Without time limits of its own, a pool needs no runtime to be built.
        let connections = connections.unwrap_or_else(|error| unreachable!("{error}"));
        let mut opened = self.gates.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|pool| pool.upgrade().is_some());
        opened.push(connections.weak());
        drop(opened);
        let (acquire, waits, door) = (self.gates.acquire, self.waits.clone(), self.door.clone());
        Gate { connections, acquire, waits, door }
    }

    /// For jobs and start-up work, which must not take connections from requests.
    pub fn background(&self) -> &PgPool {
        &self.background
    }

    fn pools(&self) -> [&PgPool; 4] {
        [&self.gate, &self.search.pool, &self.write.pool, &self.background]
    }

    /// Where calls park their connections.
    fn lot(&self, work: Work) -> Option<&Lot> {
        match work {
            Work::Search => Some(&self.search),
            Work::Write => Some(&self.write),
            Work::Gate | Work::Background => None,
        }
    }

    /// What is open and idle, for the metrics.
    pub fn pools_in_use(&self) -> [InUse; 4] {
        let mut each = self.pools().map(|pool| InUse {
            name: "",
            idle: pool.num_idle(),
            open: pool.size() as usize,
            most: pool.options().get_max_connections() as usize,
        });
        for (one, name) in each.iter_mut().zip(POOLS) {
            one.name = name;
        }
        for (work, lot) in [(Work::Search, &self.search), (Work::Write, &self.write)] {
            each[work as usize].idle += lot.parked();
        }
        for status in self.gates.statuses() {
            let gate = &mut each[Work::Gate as usize];
            (gate.idle, gate.open, gate.most) =
                (gate.idle + status.available, gate.open + status.size, gate.most + status.max_size);
        }
        each
    }

    /// What it counts about itself.
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![self.waits.collector(), self.queues.collector()]
    }

    /// Hands out no more connections and waits for those in use: a unit of work whose caller has gone still commits.
    pub async fn close(&self) {
        self.gates.close();
        let pools = join_all([&self.gate, &self.background].map(PgPool::close));
        let lots = join_all([&self.search, &self.write].map(Lot::close));
        if tokio::time::timeout(CLOSE_PATIENCE, async { tokio::join!(pools, lots) }).await.is_err() {
            tracing::warn!("work in the database did not end within {CLOSE_PATIENCE:?}");
        }
    }
}

/// Of one pool: how many connections are idle and open, and how many there may be.
pub struct InUse {
    pub name: &'static str,
    pub idle: usize,
    pub open: usize,
    pub most: usize,
}

/// How workers open connections to the gate, and what they have opened.
struct Gates {
    options: PgConnectOptions,
    /// Of all workers together.
    connections: u32,
    acquire: Duration,
    opened: Mutex<Vec<WeakPool<Opener>>>,
}

impl Gates {
    fn statuses(&self) -> Vec<Status> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.iter().filter_map(WeakPool::upgrade).map(|pool| pool.status()).collect()
    }

    fn close(&self) {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.iter().filter_map(WeakPool::upgrade).for_each(|pool| pool.close());
    }
}

fn pool_of(size: u32, acquire: Duration, options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(acquire)
        // A ping at every checkout would double the round trips of the gate; after a pause it pays.
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > PAUSE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options)
}

/// Session settings travel as connection options: unlike SET after connecting, RESET cannot undo them.
pub fn session(options: &PgConnectOptions, role: &str, name: &str, statement_timeout_ms: u64) -> PgConnectOptions {
    options.clone().application_name(name).options([
        ("role", role),
        ("search_path", "cairn,public"),
        ("timezone", "UTC"),
        ("jit", "off"),
        // Every statement has its index; statistics of a young table suggest reading it whole.
        ("enable_seqscan", "off"),
        ("statement_timeout", &statement_timeout_ms.to_string()),
        ("lock_timeout", "3000"),
        ("idle_in_transaction_session_timeout", "5000"),
    ])
}

/// Reads a connection URL; the error names the setting, never the password in it.
pub fn parse_url(setting: &str, url: &str) -> anyhow::Result<PgConnectOptions> {
    let is_postgres = ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
    let options: Option<PgConnectOptions> = url.parse().ok().filter(|_| is_postgres);
    let options = options
        .ok_or_else(|| anyhow::anyhow!("not a PostgreSQL URL (postgres://user:password@host:5432/database)"))
        .with_context(|| format!("configuration: setting {setting}"))?;
    Ok(options)
}
