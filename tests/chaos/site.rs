//! Three servers over one Postgres, one Redis or a cluster of them, and one embedding provider.

use std::sync::Arc;

use sqlx::{ConnectOptions, Executor};
use tokio::process::Command;

use crate::instance::Instance;
use crate::support::cluster::Cluster;
use crate::support::fault::{FaultProxy, Target};
use crate::support::provider::{KEY, Provider};
use crate::support::redis::Redis;
use crate::support::redis_cluster::RedisCluster;
use crate::support::runtime_dir;

pub const INSTANCES: usize = 3;

/// What the servers keep their caches in.
pub enum Cache {
    Single(Redis),
    Cluster(RedisCluster),
}

pub struct Site {
    pub instances: Vec<Instance>,
    pub postgres: Arc<Cluster>,
    pub database: String,
    pub cache: Cache,
    /// A key that may do everything in the one tenant.
    pub key: String,
    /// Answers as long as this is here.
    _provider: Provider,
}

/// What the servers are told beyond the usual.
pub type Settings<'a> = &'a [(&'static str, &'a str)];

impl Site {
    pub async fn start(cache: Cache, more: Settings<'_>) -> Self {
        let postgres = Cluster::own().await;
        let database = postgres.clone_template().await;
        if more.iter().any(|(name, _)| *name == "CAIRN_SABOTAGE") {
            dismiss_the_audit(&postgres, &database).await;
        }
        let mut site = Self::over(postgres, database, cache, more).await;
        site.key = site.new_tenant("chaos").await;
        site
    }

    /// A key that may do everything in a new tenant.
    async fn new_tenant(&self, name: &str) -> String {
        let first = &self.instances[0];
        let ways = ways(&first.postgres, &self.database, &first.provider);
        let settings: Vec<_> = settings().into_iter().chain(ways).collect();
        run(&settings, &["tenant", "create", name]).await;
        run(&settings, &["key", "create", "--tenant", name]).await.trim().to_owned()
    }

    /// Over what is there; whoever has a key keeps it.
    pub async fn over(postgres: Arc<Cluster>, database: String, cache: Cache, more: Settings<'_>) -> Self {
        let provider = Provider::start().await;
        let mut settings = settings();
        settings.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let mut instances = Vec::new();
        for index in 0..INSTANCES {
            let settings: Vec<_> = in_memory(index).into_iter().chain(settings.iter().cloned()).collect();
            instances.push(instance(&settings, &postgres, &database, &cache, &provider).await);
        }
        Self { instances, postgres, database, cache, key: String::new(), _provider: provider }
    }

    pub fn urls(&self) -> Vec<String> {
        self.instances.iter().map(|instance| instance.url.clone()).collect()
    }

    /// Deadlocks that Postgres found.
    pub fn deadlocks(&self) -> usize {
        self.postgres.log().lines().filter(|line| line.starts_with("40P01 ERROR")).count()
    }
}

fn settings() -> Vec<(&'static str, String)> {
    let settings = [
        ("CAIRN_SECRET_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
        ("CAIRN_HTTP__WORKERS", "1"),
        ("CAIRN_LOG", "cairn=info,warn"),
        // A debug build on a busy machine would miss the usual deadlines without any fault.
        ("CAIRN_CACHE__REDIS_DEADLINE_MS", "100"),
        ("CAIRN_DATABASE__ACQUIRE_TIMEOUT_MS", "5000"),
        ("CAIRN_DATABASE__READ_TIMEOUT_MS", "5000"),
        ("CAIRN_EMBEDDINGS__QUERY_DEADLINE_MS", "4000"),
        ("CAIRN_EMBEDDINGS__PROVIDER", "openai"),
        ("CAIRN_EMBEDDINGS__MODEL", "stones-1"),
        ("CAIRN_EMBEDDINGS__DIMENSIONS", "32"),
        ("CAIRN_EMBEDDINGS__API_KEY", KEY),
    ];
    let runtime = ("CAIRN_RUNTIME_DIR", runtime_dir().display().to_string());
    settings.map(|(name, value)| (name, value.to_owned())).into_iter().chain([runtime]).collect()
}

/// One instance has scopes in memory, one has none, and one keeps losing them, in a build that can.
fn in_memory(instance: usize) -> Option<(&'static str, String)> {
    match instance {
        0 => None,
        1 => Some(("CAIRN_RECALL__HOT_INDEX_MB", "0".to_owned())),
        _ if cfg!(feature = "sabotage") => Some(("CAIRN_SABOTAGE", "index_stays".to_owned())),
        _ => None,
    }
}

async fn instance(
    settings: &[(&'static str, String)],
    cluster: &Cluster,
    database: &str,
    cache: &Cache,
    embedder: &Provider,
) -> Instance {
    let postgres = FaultProxy::start(Target::Socket(cluster.socket())).await;
    let provider = FaultProxy::start(Target::Port(embedder.address.port())).await;
    let mut settings = settings.to_vec();
    settings.extend(ways(&postgres, database, &provider));
    let redis = match cache {
        Cache::Single(redis) => {
            let proxy = FaultProxy::start(Target::Port(redis.port())).await;
            settings.push(("REDIS_URL", format!("redis://127.0.0.1:{}", proxy.port)));
            Some(proxy)
        }
        Cache::Cluster(nodes) => {
            settings.push(("REDIS_URL", nodes.url()));
            settings.push(("CAIRN_CACHE__REDIS_CLUSTER", "true".into()));
            None
        }
    };
    Instance::start(&settings, postgres, provider, redis).await
}

fn ways(postgres: &FaultProxy, database: &str, provider: &FaultProxy) -> [(&'static str, String); 2] {
    let url = format!("postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable", postgres.port);
    [("DATABASE_URL", url), ("CAIRN_EMBEDDINGS__BASE_URL", format!("http://127.0.0.1:{}/v1", provider.port))]
}

/// Runs a verb that succeeds; what it printed.
async fn run(settings: &[(&str, String)], verb: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
    command.args(verb).env_clear().envs(settings.iter().map(|(name, value)| (name, value))).current_dir("/");
    let output = command.output().await.expect("it runs");
    assert!(output.status.success(), "{verb:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The test database refuses commits without new stamps, which a control wants to see.
async fn dismiss_the_audit(cluster: &Cluster, database: &str) {
    let mut connection = cluster.options().database(database).connect().await.expect("connects");
    let dismiss = "DROP FUNCTION cairn.audit_stamp, cairn.audit_memory CASCADE";
    connection.execute(dismiss).await.expect("no audit any more");
}
