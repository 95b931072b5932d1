//! Scripts that Redis runs: what must be read and written at once. Each has one key, so that it runs on any cluster,
//! and takes its time from Redis: the clocks of instances may differ.

use std::sync::LazyLock;

use deadpool_redis::redis::{self, ErrorKind, FromRedisValue, RedisResult, ServerErrorKind};
use sha1::{Digest, Sha1};

use super::commands::{Command, Kind};
use super::pool::Connection;

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::of(include_str!("take.lua")));
static BEAT: LazyLock<Script> = LazyLock::new(|| Script::of(include_str!("beat.lua")));

/// What Redis runs, and the name that it knows it by once it has seen it.
struct Script {
    code: &'static str,
    name: String,
}

impl Script {
    fn of(code: &'static str) -> Self {
        Self { code, name: Sha1::digest(code).iter().map(|byte| format!("{byte:02x}")).collect() }
    }

    /// One round trip, and a second one where Redis has not seen it yet.
    async fn run<T: FromRedisValue>(&self, to: &mut Connection, key: &str, arguments: &[String]) -> RedisResult<T> {
        let by_name = redis::cmd("EVALSHA").arg(&self.name).arg(1).arg(key).arg(arguments).take();
        match to.send(&by_name).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                to.send(&redis::cmd("EVAL").arg(self.code).arg(1).arg(key).arg(arguments).take()).await
            }
            outcome => outcome,
        }
    }
}

/// Takes from a bucket that fills steadily. Times are in microseconds.
#[derive(Debug, Clone)]
pub struct Take {
    pub key: String,
    /// The bucket gains one in this time.
    pub per: f64,
    /// From empty to full.
    pub fill: f64,
    /// How far below full it may be; beyond `fill`, that is debt.
    pub depth: f64,
    /// Taken whole or not at all: more than the bucket holds is taken when it is full.
    pub cost: u64,
    /// Taken as far as it goes, where the cost is.
    pub wanted: u64,
}

/// What was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// 0: the cost was not there.
    pub granted: u64,
    pub left: u64,
    /// In so many microseconds the cost will be there.
    pub wait: u64,
}

impl Command for Take {
    type Answer = Taken;
    const NAME: &'static str = "take";
    const KIND: Kind = Kind::Tell;

    async fn run(&self, connection: &mut Connection) -> RedisResult<Taken> {
        let arguments = [self.per, self.fill, self.depth, self.cost as f64, self.wanted as f64].map(|n| n.to_string());
        let (granted, left, wait) = TAKE.run(connection, &self.key, &arguments).await?;
        Ok(Taken { granted, left, wait })
    }
}

/// Says that an instance is there; answers how many are.
#[derive(Debug, Clone)]
pub struct Beat {
    pub key: String,
    pub instance: String,
    /// Who has said nothing for so long is gone.
    pub lasts_secs: u64,
}

impl Command for Beat {
    type Answer = u64;
    const NAME: &'static str = "beat";
    const KIND: Kind = Kind::Tell;

    async fn run(&self, connection: &mut Connection) -> RedisResult<u64> {
        BEAT.run(connection, &self.key, &[self.instance.clone(), self.lasts_secs.to_string()]).await
    }
}
