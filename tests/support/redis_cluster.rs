//! A Redis Cluster on loopback: three masters, three replicas.

use deadpool_redis::redis::{self, FromRedisValue, RedisResult};

use super::process::wait;
use super::redis::Redis;

const MASTERS: usize = 3;
const SLOTS: usize = 16_384;

pub struct RedisCluster {
    /// The masters that it began with, then their replicas in the same order.
    pub nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Serves all slots when this returns. A node counts as failed after a second.
    pub async fn start() -> Self {
        let arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
        let arguments = [&arguments[..], &["--cluster-replica-validity-factor", "0"]].concat();
        let mut nodes = Vec::new();
        for _ in 0..2 * MASTERS {
            nodes.push(Redis::start_with(&arguments).await);
        }
        let cluster = Self { nodes };
        cluster.give_out_slots().await;
        cluster.introduce().await;
        cluster.wait_until_whole().await;
        cluster
    }

    /// All nodes, separated by commas.
    pub fn url(&self) -> String {
        self.nodes.iter().map(Redis::url).collect::<Vec<_>>().join(",")
    }

    /// Those that are masters now, as far as they know.
    pub async fn masters(&self) -> Vec<&Redis> {
        self.with_role("master").await
    }

    pub async fn replicas(&self) -> Vec<&Redis> {
        self.with_role("slave").await
    }

    /// Makes a replica the master of its slots, without asking anybody: what it has not got yet is lost.
    pub async fn take_over(&self, replica: &Redis) -> RedisResult<()> {
        ask(replica, &["FAILOVER", "TAKEOVER"]).await
    }

    /// Until every node answers for all slots, and the replicas follow.
    pub async fn wait_until_whole(&self) {
        for node in &self.nodes {
            wait("the cluster is whole", async || {
                let info: RedisResult<String> = ask(node, &["INFO"]).await;
                info.is_ok_and(|info| info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:6"))
            })
            .await;
        }
        for replica in self.replicas().await {
            replica.wait_for_replication().await;
        }
    }

    async fn with_role(&self, role: &str) -> Vec<&Redis> {
        let mut found = Vec::new();
        for node in &self.nodes {
            let info: RedisResult<String> = node.ask(redis::cmd("INFO").arg("replication")).await;
            if info.is_ok_and(|info| info.contains(&format!("role:{role}"))) {
                found.push(node);
            }
        }
        found
    }

    async fn give_out_slots(&self) {
        for (index, master) in self.nodes[..MASTERS].iter().enumerate() {
            let slots = SLOTS * index / MASTERS..SLOTS * (index + 1) / MASTERS;
            let mut command = redis::cmd("CLUSTER");
            command.arg("ADDSLOTS").arg(slots.collect::<Vec<_>>());
            master.ask::<()>(&command).await.expect("slots");
        }
    }

    async fn introduce(&self) {
        let first = self.nodes[0].port().to_string();
        for (index, node) in self.nodes.iter().enumerate() {
            tell(node, &["SET-CONFIG-EPOCH", &(index + 1).to_string()]).await;
            if index > 0 {
                tell(node, &["MEET", "127.0.0.1", &first]).await;
            }
        }
        for (master, replica) in self.nodes.iter().zip(&self.nodes[MASTERS..]) {
            let id: String = ask(master, &["MYID"]).await.expect("an id");
            wait("the replica has heard of its master", async || ask::<()>(replica, &["REPLICATE", &id]).await.is_ok())
                .await;
        }
    }
}

async fn tell(node: &Redis, words: &[&str]) {
    ask::<()>(node, words).await.expect("it does");
}

async fn ask<T: FromRedisValue>(node: &Redis, words: &[&str]) -> RedisResult<T> {
    node.ask(redis::cmd("CLUSTER").arg(words)).await
}
