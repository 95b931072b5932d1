//! What is broken, one thing at a time, by dice: for a while, and then it is whole again.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use strum::VariantArray;

use crate::history::{History, Hurt};
use crate::instance::Instance;
use crate::site::{Cache, INSTANCES, Site};
use crate::support::fault::{Fault, FaultProxy};
use crate::support::redis::Redis;
use crate::support::redis_cluster::RedisCluster;

#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::VariantArray, strum::IntoStaticStr)]
enum Break {
    // The way from all servers to Redis, or from one of them
    RedisRefuses,
    RedisBlackHole,
    RedisResets,
    RedisSlow,
    RedisLosesAnswers,
    RedisCutOffFromOne,
    // Redis itself
    RedisRestartsEmpty,
    RedisRestartsFromOldDump,
    RedisStops,
    RedisForgetsAll,
    // A cluster's nodes
    NodeStops,
    NodeRestarts,
    NodeTakesOver,
    NodesForgetAll,
    // The rest
    ServerKilled,
    ServerStops,
    PostgresResets,
    PostgresSlow,
    PostgresRestarts,
    ProviderRefuses,
    ProviderBlackHole,
}

impl Break {
    fn hurts(self, instance: usize) -> Hurt {
        match self {
            Self::ServerKilled | Self::ServerStops => Hurt::Server(instance),
            Self::PostgresResets | Self::PostgresSlow | Self::PostgresRestarts => Hurt::Postgres,
            Self::ProviderRefuses | Self::ProviderBlackHole => Hurt::Provider,
            _ => Hurt::Redis,
        }
    }

    /// Faults of nodes need a cluster, and the proxies before Redis a single one.
    fn is_for(self, cache: &Cache) -> bool {
        let name: &str = self.into();
        match cache {
            Cache::Single(_) => !name.starts_with("Node"),
            Cache::Cluster(_) => !name.starts_with("Redis"),
        }
    }
}

pub struct Faults<'a> {
    site: &'a Site,
    history: &'a History,
    dice: StdRng,
    /// How long everything lasts, as a share of the usual.
    tempo: f64,
    /// Of a Redis long ago.
    dump: Option<PathBuf>,
}

impl<'a> Faults<'a> {
    pub fn new(site: &'a Site, history: &'a History, seed: u64, tempo: f64) -> Self {
        Self { site, history, dice: StdRng::seed_from_u64(seed), tempo, dump: None }
    }

    /// Something every few seconds, until then; each kind once before one comes again.
    pub async fn inject(mut self, until: Duration) {
        let mut ahead: Vec<Break> = Vec::new();
        while self.history.now() < until {
            // A breaker takes up to two seconds to find that Redis is back, and then there shall be hits.
            self.pause(1_000..3_000).await;
            if ahead.is_empty() {
                ahead = Break::VARIANTS.iter().copied().filter(|one| one.is_for(&self.site.cache)).collect();
            }
            let next = ahead.swap_remove(self.dice.random_range(0..ahead.len()));
            let instance = self.dice.random_range(0..INSTANCES);
            let window = self.history.hurt(next.into(), next.hurts(instance));
            self.carry_out(next, instance).await;
            self.history.healed(window);
        }
    }

    async fn carry_out(&mut self, what: Break, instance: usize) {
        match &self.site.cache {
            Cache::Single(redis) if what.hurts(0) == Hurt::Redis => self.hurt_redis(what, redis, instance).await,
            Cache::Cluster(cluster) if what.hurts(0) == Hurt::Redis => self.hurt_cluster(what, cluster).await,
            _ => self.hurt_others(what, instance).await,
        }
    }

    async fn hurt_redis(&mut self, what: Break, redis: &Redis, instance: usize) {
        let (all, long) = (&[0, 1, 2], 500..3_000);
        match what {
            Break::RedisRefuses => self.ways(to_redis, all, Fault::Refuse, long).await,
            Break::RedisBlackHole => self.ways(to_redis, all, Fault::BlackHole, long).await,
            Break::RedisResets => self.ways(to_redis, all, Fault::Reset, long).await,
            Break::RedisSlow => self.ways(to_redis, all, Fault::Latency(Duration::from_secs(2)), long).await,
            Break::RedisLosesAnswers => self.ways(to_redis, all, Fault::LoseAnswers, long).await,
            Break::RedisCutOffFromOne => self.ways(to_redis, &[instance], Fault::BlackHole, long).await,
            Break::RedisRestartsFromOldDump => self.restart_from_dump(redis).await,
            Break::RedisStops => self.stop(redis).await,
            Break::RedisForgetsAll => redis.flush_all().await,
            _ => {
                redis.kill();
                self.pause(0..2_000).await;
                redis.restart().await;
            }
        }
    }

    async fn hurt_cluster(&mut self, what: Break, cluster: &RedisCluster) {
        let node = cluster.nodes.choose(&mut self.dice).expect("a node");
        match what {
            Break::NodeStops => self.stop(node).await,
            Break::NodeRestarts => {
                node.kill();
                self.pause(0..3_000).await;
                node.restart().await;
            }
            Break::NodeTakesOver => {
                let replicas = cluster.replicas().await;
                let lagging = replicas.choose(&mut self.dice).expect("a replica");
                self.stop(lagging).await;
                cluster.take_over(lagging).await.expect("it takes over");
            }
            _ => {
                for master in cluster.masters().await {
                    master.flush_all().await;
                }
            }
        }
        cluster.wait_until_whole().await;
    }

    async fn hurt_others(&mut self, what: Break, instance: usize) {
        let (server, some) = (&self.site.instances[instance], self.some());
        match what {
            Break::ServerKilled => {
                server.kill();
                self.pause(0..1_000).await;
                server.restart().await;
            }
            Break::ServerStops => {
                server.pause();
                self.pause(1_000..3_000).await;
                server.resume();
            }
            Break::PostgresRestarts => {
                self.site.postgres.kill();
                self.pause(0..500).await;
                self.site.postgres.restart().await;
            }
            Break::PostgresResets => self.ways(to_postgres, &some, Fault::Reset, 100..500).await,
            Break::PostgresSlow => {
                let slow = Fault::Latency(Duration::from_millis(100));
                self.ways(to_postgres, &some, slow, 500..2_000).await;
            }
            Break::ProviderRefuses => self.ways(to_provider, &some, Fault::Refuse, 500..3_000).await,
            _ => self.ways(to_provider, &some, Fault::BlackHole, 500..3_000).await,
        }
    }

    /// All servers or one of them.
    fn some(&mut self) -> Vec<usize> {
        let one = self.dice.random_range(0..INSTANCES);
        if self.dice.random_bool(0.6) { (0..INSTANCES).collect() } else { vec![one] }
    }

    async fn pause(&mut self, millis: Range<u64>) {
        tokio::time::sleep(Duration::from_millis(self.dice.random_range(millis)).mul_f64(self.tempo)).await;
    }

    async fn stop(&mut self, redis: &Redis) {
        redis.pause();
        self.pause(500..3_000).await;
        redis.resume();
    }

    /// With what it held when it was last here.
    async fn restart_from_dump(&mut self, redis: &Redis) {
        let now = redis.dump().await;
        redis.kill();
        self.pause(0..1_000).await;
        redis.restart_from(self.dump.as_ref().unwrap_or(&now)).await;
        self.dump = Some(now);
    }

    /// Hurts the ways that some instances have to something, for a while.
    async fn ways(
        &mut self,
        to: fn(&Instance) -> Option<&FaultProxy>,
        instances: &[usize],
        fault: Fault,
        millis: Range<u64>,
    ) {
        let ways: Vec<&FaultProxy> = instances.iter().filter_map(|index| to(&self.site.instances[*index])).collect();
        ways.iter().for_each(|way| way.set(fault));
        self.pause(millis).await;
        ways.iter().for_each(|way| way.set(Fault::Pass));
    }
}

fn to_redis(instance: &Instance) -> Option<&FaultProxy> {
    instance.redis.as_ref()
}

fn to_postgres(instance: &Instance) -> Option<&FaultProxy> {
    Some(&instance.postgres)
}

fn to_provider(instance: &Instance) -> Option<&FaultProxy> {
    Some(&instance.provider)
}
