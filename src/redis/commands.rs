//! What is said to Redis, one type an exchange. Keys of one command may live on different nodes of a cluster: no
//! command but MGET, which the client takes apart, has more than one of them.

use std::time::{SystemTime, UNIX_EPOCH};

use deadpool_redis::redis::{self, Cmd, RedisResult, Value};

use super::Put;
use super::pool::Connection;

/// So many keys an index lists, the youngest; older ones are left to their TTL.
const INDEXED: isize = 1_000;

/// What Redis needs to be able to do for an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Say what it has.
    Read,
    /// Take and keep something: impossible on a replica, or when its memory is full.
    Store,
    /// Anything else; it may refuse, and that says nothing about the others.
    Tell,
}

/// An exchange with Redis, which can be made again if a connection is lost.
pub trait Command: Send + Sync + 'static {
    type Answer: Send + 'static;
    const NAME: &'static str;
    const KIND: Kind;

    fn run(&self, connection: &mut Connection) -> impl Future<Output = RedisResult<Self::Answer>> + Send;
}

pub struct Get(pub Vec<String>);

impl Command for Get {
    type Answer = Vec<Option<Vec<u8>>>;
    const NAME: &'static str = "get";
    const KIND: Kind = Kind::Read;

    async fn run(&self, connection: &mut Connection) -> RedisResult<Self::Answer> {
        match &self.0[..] {
            [key] => Ok(vec![connection.send(redis::cmd("GET").arg(key)).await?]),
            keys => connection.send(redis::cmd("MGET").arg(keys)).await,
        }
    }
}

pub struct Store(pub Vec<Put>);

impl Command for Store {
    type Answer = ();
    const NAME: &'static str = "put";
    const KIND: Kind = Kind::Store;

    async fn run(&self, connection: &mut Connection) -> RedisResult<()> {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut groups = Vec::new();
        for put in &self.0 {
            let ttl_ms = put.ttl.as_millis().max(1);
            groups.push(vec![command("SET", &put.key).arg(&put.value).arg("PX").arg(ttl_ms as u64).take()]);
            for index in &put.indexes {
                groups.push(vec![
                    command("ZADD", index).arg((now_ms + ttl_ms) as u64).arg(&put.key).take(),
                    command("ZREMRANGEBYRANK", index).arg(0).arg(-INDEXED - 1).take(),
                    // Twice: what it lists may stay a little longer than the last one listed.
                    command("PEXPIRE", index).arg(2 * ttl_ms as u64).take(),
                ]);
            }
        }
        connection.send_groups(groups).await.map(drop)
    }
}

pub struct Delete(pub Vec<String>);

impl Command for Delete {
    type Answer = u64;
    const NAME: &'static str = "delete";
    const KIND: Kind = Kind::Tell;

    async fn run(&self, connection: &mut Connection) -> RedisResult<u64> {
        unlink(connection, &self.0).await
    }
}

pub struct DeleteIndexed(pub Vec<String>);

impl Command for DeleteIndexed {
    type Answer = u64;
    const NAME: &'static str = "delete_indexed";
    const KIND: Kind = Kind::Tell;

    async fn run(&self, connection: &mut Connection) -> RedisResult<u64> {
        let lists = self.0.iter().map(|index| vec![command("ZRANGE", index).arg(0).arg(-1).take()]);
        let mut keys = Vec::new();
        for list in connection.send_groups(lists.collect()).await? {
            keys.extend(redis::from_redis_value::<Vec<String>>(list)?);
        }
        let deleted = unlink(connection, &keys).await?;
        unlink(connection, &self.0).await?;
        Ok(deleted)
    }
}

pub struct Publish {
    pub channel: String,
    pub message: Vec<u8>,
}

impl Command for Publish {
    type Answer = ();
    const NAME: &'static str = "publish";
    const KIND: Kind = Kind::Tell;

    async fn run(&self, connection: &mut Connection) -> RedisResult<()> {
        connection.send(redis::cmd("PUBLISH").arg(&self.channel).arg(&self.message)).await
    }
}

/// How many of them there were.
pub async fn unlink(connection: &mut Connection, keys: &[String]) -> RedisResult<u64> {
    if keys.is_empty() {
        return Ok(0);
    }
    let groups = keys.iter().map(|key| vec![command("UNLINK", key)]).collect();
    let counts = connection.send_groups(groups).await?;
    counts.into_iter().try_fold(0, |sum, count: Value| Ok(sum + redis::from_redis_value::<u64>(count)?))
}

fn command(name: &str, key: &str) -> Cmd {
    redis::cmd(name).arg(key).take()
}
