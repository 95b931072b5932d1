//! The way to Redis: one node or a cluster, deadlines on every call, a breaker that keeps callers from
//! waiting for what does not answer. Knows nothing of what is kept there; whatever fails here costs time
//! and never an answer.

mod breaker;
mod calls;
mod clear;
mod commands;
mod metrics;
mod pool;
mod scripts;
mod subscription;
mod target;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::Collector;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config;

pub use self::scripts::{Take, Taken};

use self::calls::Calls;
use self::commands::{Delete, DeleteIndexed, Get, Publish, Store};
use self::pool::Pool;
use self::scripts::Beat;
use self::subscription::Subscription;
use self::target::Target;

/// Why there is no answer. Nobody has to look: an entry that cannot be had is an entry that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// Not even asked: the breaker is open.
    Resting,
    /// No answer within the deadline.
    TooSlow,
    /// Refused, cut off, or not understood.
    Failed,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Resting => "not asked: Redis did not answer lately",
            Self::TooSlow => "no answer in time",
            Self::Failed => "the call failed",
        })
    }
}

/// A value to keep for a while, and the indexes that shall list its key.
#[derive(Debug, Clone)]
pub struct Put {
    pub key: String,
    pub value: Vec<u8>,
    pub ttl: Duration,
    pub indexes: Vec<String>,
}

/// What readiness and statistics say of Redis.
#[derive(Debug, Clone)]
pub struct State {
    pub ok: bool,
    /// `closed`, `open` or `probing`.
    pub breaker: &'static str,
    pub detail: String,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// A call, with all that belongs to it.
    deadline: Duration,
}

impl Limits {
    /// Making a connection, and an answer that nobody waits for any more but the connection.
    fn patience(self) -> Duration {
        self.deadline * 10
    }

    /// One of several nodes may be gone, and the others are to be had within our patience.
    fn connect_to_node(self) -> Duration {
        self.deadline * 4
    }
}

#[derive(Clone)]
pub struct Redis {
    calls: Arc<Calls>,
    target: Arc<Target>,
    runtime: Handle,
    /// They end with the last of the clones.
    tasks: Arc<Mutex<JoinSet<()>>>,
    closed: Arc<AtomicBool>,
}

impl Redis {
    /// Connects to nobody yet: Redis may be down when the server starts.
    pub fn open(settings: &config::Cache, url: &str, runtime: Handle) -> anyhow::Result<Self> {
        let limits = Limits { deadline: Duration::from_millis(settings.redis_deadline_ms) };
        let target = Arc::new(Target::parse(settings, url, limits)?);
        let pool = Pool::new(target.clone(), settings.redis_connections, limits)?;
        let calls = Arc::new(Calls::new(pool, limits, runtime.clone(), &settings.prefix)?);
        let redis = Self { calls, target, runtime, tasks: Arc::default(), closed: Arc::default() };
        redis.start(redis.calls.clone().probe());
        Ok(redis)
    }

    pub async fn get(&self, keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, Unavailable> {
        if keys.is_empty() { Ok(Vec::new()) } else { self.call(Get(keys)).await }
    }

    pub async fn put(&self, puts: Vec<Put>) -> Result<(), Unavailable> {
        if puts.is_empty() { Ok(()) } else { self.call(Store(puts)).await }
    }

    pub async fn delete(&self, keys: Vec<String>) -> Result<u64, Unavailable> {
        if keys.is_empty() { Ok(0) } else { self.call(Delete(keys)).await }
    }

    /// Deletes what these indexes list, and the indexes.
    pub async fn delete_indexed(&self, indexes: Vec<String>) -> Result<u64, Unavailable> {
        if indexes.is_empty() { Ok(0) } else { self.call(DeleteIndexed(indexes)).await }
    }

    /// Deletes all keys that begin so, on every node, a few at a time: for an operator's explicit wish.
    pub async fn clear(&self, prefix: &str) -> Result<u64, Unavailable> {
        if self.is_closed() || self.calls.breaker.is_open() {
            self.calls.metrics.called("clear", "resting");
            return Err(Unavailable::Resting);
        }
        let task = self.runtime.spawn(clear::clear(self.calls.clone(), prefix.to_owned()));
        task.await.unwrap_or(Err(Unavailable::Failed))
    }

    pub async fn publish(&self, channel: &str, message: Vec<u8>) -> Result<(), Unavailable> {
        self.call(Publish { channel: channel.to_owned(), message }).await
    }

    /// Takes from a bucket that all instances share.
    pub async fn take(&self, take: Take) -> Result<Taken, Unavailable> {
        self.call(take).await
    }

    /// Says that this instance is there, for so many seconds; how many have said so.
    pub async fn beat(&self, key: String, instance: String, lasts_secs: u64) -> Result<u64, Unavailable> {
        self.call(Beat { key, instance, lasts_secs }).await
    }

    /// What is published from now on, with gaps wherever the connection was lost.
    pub fn subscribe(&self, channel: &str) -> mpsc::Receiver<Vec<u8>> {
        let (messages, taken) = mpsc::channel(subscription::QUEUE);
        let (calls, target) = (self.calls.clone(), self.target.clone());
        self.start(Subscription { calls, target, channel: channel.to_owned(), messages }.run());
        taken
    }

    pub fn state(&self) -> State {
        let (breaker, cause) = self.calls.breaker.describe();
        let (_, stores_cause) = self.calls.stores.describe();
        let detail = match (&cause, &stores_cause) {
            (Some(cause), _) => format!("not asked for now: {cause}"),
            (None, Some(cause)) => format!("read but not written for now: {cause}"),
            (None, None) => "in use".to_owned(),
        };
        State { ok: cause.is_none() && stores_cause.is_none(), breaker, detail }
    }

    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        self.calls.metrics.collectors()
    }

    /// Ends what runs in the background; nobody is asked any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        self.calls.pool.close();
    }

    async fn call<C: commands::Command>(&self, command: C) -> Result<C::Answer, Unavailable> {
        if self.is_closed() { Err(Unavailable::Resting) } else { self.calls.call(command).await }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn_on(task, &self.runtime);
    }
}
