//! Settings of the caches and of Redis.

use std::path::PathBuf;

use anyhow::bail;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// False: nothing is cached, and nobody connects to Redis.
    pub enabled: bool,
    /// `off`: the caches live in this process alone. Unset: a private Redis, where a `redis-server` is found.
    /// Of a cluster: one node or several, separated by commas.
    pub redis_url: Option<String>,
    /// The URL names nodes of a Redis Cluster.
    pub redis_cluster: bool,
    /// PEM file of the authorities to trust for `rediss://`, instead of those of the system.
    pub redis_ca_file: Option<PathBuf>,
    /// Connections at most; each carries one call at a time.
    pub redis_connections: usize,
    /// How long a call may take before the answer is computed instead.
    pub redis_deadline_ms: u64,
    /// In front of every key; several installations may share a Redis.
    pub prefix: String,
    /// The most that the cache in this process may hold.
    pub local_mb: u64,
    /// Which kinds are cached at all.
    pub embedding: bool,
    pub recall: bool,
    pub circle: bool,
    /// How long an entry is kept, give or take a tenth.
    pub embedding_ttl_secs: u64,
    pub recall_ttl_secs: u64,
    pub circle_ttl_secs: u64,
    /// One in so many hits is computed anew and compared; 0: none.
    pub verify_one_in: u32,
    /// `/metrics` tells tenants apart; with many of them, that is many series.
    pub tenant_metrics: bool,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            enabled: true,
            redis_url: None,
            redis_cluster: false,
            redis_ca_file: None,
            redis_connections: 16,
            redis_deadline_ms: 25,
            prefix: "cairn:".into(),
            local_mb: 256,
            embedding: true,
            recall: true,
            circle: true,
            embedding_ttl_secs: 86_400,
            recall_ttl_secs: 300,
            circle_ttl_secs: 600,
            verify_one_in: 1_000,
            tenant_metrics: false,
        }
    }
}

impl Cache {
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        let numbers = [
            ("redis_connections", self.redis_connections as u64, 1, 1_000),
            ("redis_deadline_ms", self.redis_deadline_ms, 1, 1_000),
            ("local_mb", self.local_mb, 1, 1_048_576),
            ("embedding_ttl_secs", self.embedding_ttl_secs, 1, 31_536_000),
            ("recall_ttl_secs", self.recall_ttl_secs, 1, 86_400),
            ("circle_ttl_secs", self.circle_ttl_secs, 1, 86_400),
        ];
        for (name, value, least, most) in numbers {
            if !(least..=most).contains(&value) {
                bail!("configuration: setting cache.{name}: must be {least} to {most}, not {value}");
            }
        }
        // Braces choose the node of a cluster, and every key would go to the same one.
        let fits = |c: char| c.is_ascii_graphic() && !"{}*?[]\\".contains(c);
        if self.prefix.len() > 64 || !self.prefix.chars().all(fits) {
            bail!(
                "configuration: setting cache.prefix: must be at most 64 printable ASCII characters without spaces, braces, brackets, * ? \\, not {:?}",
                self.prefix
            );
        }
        Ok(())
    }

    /// Whether Redis is to be used, by whatever URL.
    pub fn wants_redis(&self) -> bool {
        self.enabled && self.redis_url.as_deref() != Some("off")
    }
}
