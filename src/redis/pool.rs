//! The pool of connections. Looks at nobody's health by asking: a call that fails on a connection that was lost while
//! it lay idle is made again on a new one, which costs less than a question before every call.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool::managed::{self, Metrics, Object, PoolError, QueueMode, RecycleError, RecycleResult};
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::cluster_async::ClusterConnection;
use deadpool_redis::redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use deadpool_redis::redis::{
    self, AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, Value,
};
use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::Limits;
use super::target::Target;

/// New connections a second, once those that a burst may take are used up.
const CONNECTS_PER_SECOND: f64 = 2.0;

/// One that carries one call at a time.
pub struct Connection {
    link: Link,
    /// An answer may still be under way: the next caller would take it for its own.
    awaits_answer: bool,
}

enum Link {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    fn new(link: Link) -> Self {
        Self { link, awaits_answer: false }
    }

    /// Nothing is under way any more; the pool may lend it again.
    pub fn settle(&mut self) {
        self.awaits_answer = false;
    }

    /// Sends all of these at once. What is in one group goes to one node, in this order.
    pub async fn send_groups(&mut self, groups: Vec<Vec<Cmd>>) -> RedisResult<Vec<Value>> {
        match &mut self.link {
            Link::Single(connection) => pipeline(groups.into_iter().flatten()).query_async(connection).await,
            Link::Cluster(connection) => {
                let answers = groups.into_iter().map(|group| {
                    let mut connection = connection.clone();
                    async move { pipeline(group).query_async::<Vec<Value>>(&mut connection).await }
                });
                Ok(try_join_all(answers).await?.into_iter().flatten().collect())
            }
        }
    }

    pub async fn send<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match &mut self.link {
            Link::Single(connection) => command.query_async(connection).await,
            Link::Cluster(connection) => command.query_async(connection).await,
        }
    }

    /// Every node that takes writes, by the name that `send_to` knows it by; nothing where there is but one.
    pub async fn masters(&mut self) -> RedisResult<Vec<Option<Node>>> {
        let Link::Cluster(connection) = &mut self.link else { return Ok(vec![None]) };
        let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let answers: HashMap<String, Value> =
            redis::from_redis_value(connection.route_command(redis::cmd("PING"), all).await?)?;
        Ok(answers.keys().map(|name| Node::parse(name)).collect())
    }

    pub async fn send_to<T: FromRedisValue>(&mut self, node: &Option<Node>, command: Cmd) -> RedisResult<T> {
        match (&mut self.link, node) {
            (Link::Cluster(connection), Some(Node { host, port })) => {
                let route = SingleNodeRoutingInfo::ByAddress { host: host.clone(), port: *port };
                let answer = connection.route_command(command, RoutingInfo::SingleNode(route)).await?;
                Ok(redis::from_redis_value(answer)?)
            }
            _ => self.send(&command).await,
        }
    }
}

/// Of a cluster.
pub struct Node {
    host: String,
    port: u16,
}

impl Node {
    fn parse(name: &str) -> Option<Self> {
        let (host, port) = name.rsplit_once(':')?;
        Some(Self { host: host.to_owned(), port: port.parse().ok()? })
    }
}

fn pipeline(commands: impl IntoIterator<Item = Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::new();
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline
}

/// Makes connections, not too many a second.
pub struct Manager {
    target: Arc<Target>,
    config: AsyncConnectionConfig,
    allowance: Mutex<Allowance>,
}

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = RedisError;

    async fn create(&self) -> RedisResult<Connection> {
        if !self.allowance.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now()) {
            return Err(RedisError::from((ErrorKind::Client, "connections were lost too often to make another yet")));
        }
        let link = match &self.target.cluster {
            None => {
                let node = self.target.node(0);
                Link::Single(node.get_multiplexed_async_connection_with_config(&self.config).await?)
            }
            Some(cluster) => Link::Cluster(cluster.get_async_connection().await?),
        };
        Ok(Connection::new(link))
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<RedisError> {
        match connection.awaits_answer {
            true => Err(RecycleError::message("an answer is still under way")),
            false => Ok(()),
        }
    }
}

pub type Loan = Object<Manager>;

/// Whether it lay idle, and may have been lost since.
pub fn was_used(loan: &Loan) -> bool {
    Object::metrics(loan).recycle_count > 0
}

/// Enough connections for a start and a restart, then few.
struct Allowance {
    left: f64,
    most: f64,
    counted: Instant,
}

impl Allowance {
    fn full(most: usize, now: Instant) -> Self {
        Self { left: most as f64, most: most as f64, counted: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let earned = now.duration_since(self.counted).as_secs_f64() * CONNECTS_PER_SECOND;
        (self.left, self.counted) = ((self.left + earned).min(self.most), now);
        let may = self.left >= 1.0;
        self.left -= if may { 1.0 } else { 0.0 };
        may
    }
}

#[derive(Clone)]
pub struct Pool {
    pool: managed::Pool<Manager>,
    /// A connection that takes longer to make, or longer to be used, is given up.
    patience: Duration,
}

impl Pool {
    pub fn new(target: Arc<Target>, connections: usize, limits: Limits) -> anyhow::Result<Self> {
        let patience = limits.patience();
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(patience)).set_response_timeout(Some(patience));
        let allowance = Mutex::new(Allowance::full(2 * connections, Instant::now()));
        // The last one used is the next one: the others may go when nobody needs them.
        let builder = managed::Pool::builder(Manager { target, config, allowance }).max_size(connections);
        Ok(Self { pool: builder.queue_mode(QueueMode::Lifo).build()?, patience })
    }

    /// Waits for a connection that is free, or makes one. It is thrown away unless it is settled before it is dropped.
    pub async fn lend(&self) -> RedisResult<Loan> {
        let object = tokio::time::timeout(self.patience, self.pool.get()).await;
        let mut object = object.map_err(|_| RedisError::from(io::Error::from(io::ErrorKind::TimedOut)))?.map_err(
            |error| match error {
                PoolError::Backend(error) => error,
                _ => RedisError::from((ErrorKind::Client, "the pool is closed")),
            },
        )?;
        object.awaits_answer = true;
        Ok(object)
    }

    /// Drops what lies idle: where one connection was lost, the others were.
    pub fn forget_idle(&self) {
        self.pool.retain(|_, _| false);
    }

    pub fn size(&self) -> usize {
        self.pool.status().size
    }

    pub fn close(&self) {
        self.pool.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_made_in_a_burst_and_then_twice_a_second() {
        let begin = Instant::now();
        let mut allowance = Allowance::full(10, begin);
        let mut made = |milliseconds: u64| {
            (0..100).filter(|_| allowance.take(begin + Duration::from_millis(milliseconds))).count()
        };
        assert_eq!([made(0), made(499), made(500), made(2_000)], [10, 0, 1, 3]);
        assert_eq!(made(3_600_000), 10, "a long peace earns no larger burst");
    }
}
