//! What is broken, one thing at a time, by dice: for a while, and then it is whole again.

use std::path::PathBuf;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use strum::VariantArray;

use crate::history::{History, Hurt};
use crate::site::{Cache, INSTANCES, Site};
use crate::support::fault::Fault;
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
    /// Of a Redis long ago.
    dump: Option<PathBuf>,
}

impl<'a> Faults<'a> {
    pub fn new(site: &'a Site, history: &'a History, seed: u64) -> Self {
        Self { site, history, dice: StdRng::seed_from_u64(seed), dump: None }
    }

    /// Every 1 to 5 seconds something, for so long; each kind once before one comes again.
    pub async fn inject(mut self, lasts: Duration) {
        let mut ahead: Vec<Break> = Vec::new();
        while self.history.now() < lasts {
            self.pause(500..2_000).await;
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
        let some = self.some();
        match what {
            Break::RedisRefuses => self.ways_to_redis(&some, Fault::Refuse).await,
            Break::RedisBlackHole => self.ways_to_redis(&some, Fault::BlackHole).await,
            Break::RedisResets => self.ways_to_redis(&some, Fault::Reset).await,
            Break::RedisSlow => self.ways_to_redis(&some, Fault::Latency(Duration::from_secs(2))).await,
            Break::RedisLosesAnswers => self.ways_to_redis(&some, Fault::LoseAnswers).await,
            Break::RedisCutOffFromOne => self.ways_to_redis(&[instance], Fault::BlackHole).await,
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
            Break::PostgresResets => self.ways(&some, Fault::Reset, 100..500).await,
            Break::PostgresSlow => self.ways(&some, Fault::Latency(Duration::from_millis(100)), 500..2_000).await,
            Break::ProviderRefuses => self.ways_to_provider(&some, Fault::Refuse).await,
            _ => self.ways_to_provider(&some, Fault::BlackHole).await,
        }
    }

    /// All servers or one of them.
    fn some(&mut self) -> Vec<usize> {
        let one = self.dice.random_range(0..INSTANCES);
        if self.dice.random_bool(0.6) { (0..INSTANCES).collect() } else { vec![one] }
    }

    async fn pause(&mut self, millis: std::ops::Range<u64>) {
        tokio::time::sleep(Duration::from_millis(self.dice.random_range(millis))).await;
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

    async fn ways_to_redis(&mut self, instances: &[usize], fault: Fault) {
        let ways = || instances.iter().filter_map(|index| self.site.instances[*index].redis.as_ref());
        ways().for_each(|way| way.set(fault));
        self.pause(500..3_000).await;
        let ways = instances.iter().filter_map(|index| self.site.instances[*index].redis.as_ref());
        ways.for_each(|way| way.set(Fault::Pass));
    }

    async fn ways_to_provider(&mut self, instances: &[usize], fault: Fault) {
        instances.iter().for_each(|index| self.site.instances[*index].provider.set(fault));
        self.pause(500..3_000).await;
        instances.iter().for_each(|index| self.site.instances[*index].provider.set(Fault::Pass));
    }

    async fn ways(&mut self, instances: &[usize], fault: Fault, millis: std::ops::Range<u64>) {
        instances.iter().for_each(|index| self.site.instances[*index].postgres.set(fault));
        self.pause(millis).await;
        instances.iter().for_each(|index| self.site.instances[*index].postgres.set(Fault::Pass));
    }
}
