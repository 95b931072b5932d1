//! What a memory takes where it is kept, beside its vector and its text alone.

use std::time::Duration;

use anyhow::{Context, bail};
use deadpool_redis::redis;
use serde::Serialize;

use crate::cli::bench::generator::Call;
use crate::cli::bench::ingest::growth;
use crate::cli::bench::site::Site;
use crate::cli::bench::table;
use crate::cli::bench::tables::Tables;

const SCANNED: u32 = 1_000;
const TRIES: usize = 300;
const PAUSE: Duration = Duration::from_millis(100);

/// Bytes a memory.
#[derive(Serialize)]
pub struct Sizes {
    /// The vector as it is stored, two bytes a dimension.
    vector: f64,
    text: f64,
    postgres_heap: f64,
    postgres_indexes: f64,
    /// In the memory of an instance, while its scope is hot.
    hot_index: f64,
    /// Of its embedding, while that is cached; none: there is no Redis.
    redis: Option<f64>,
}

/// After an agent has got so many memories.
pub async fn after(site: &Site, before: Tables, count: u64, text_bytes: u64) -> anyhow::Result<Sizes> {
    let grown = Tables::measure(site).await?.since(before);
    let each = |bytes: i64| bytes as f64 / count as f64;
    let dims = site.instance.app.embedder.dims();
    Ok(Sizes {
        vector: dims as f64 * 2.0,
        text: text_bytes as f64 / count as f64,
        postgres_heap: each(grown.heap),
        postgres_indexes: each(grown.indexes),
        hot_index: in_memory(site, count).await?,
        redis: in_redis(site).await?,
    })
}

/// Once the agent is asked, its scope is read into memory, aside where it is large.
async fn in_memory(site: &Site, count: u64) -> anyhow::Result<f64> {
    let before = held(site)?;
    let recall = Call::post(&format!("/v1/agents/{}/recall", growth::AGENT), 200)?;
    let mut connection = site.instance.address(&site.tenant.key)?.connect().await?;
    for _ in 0..TRIES {
        // Until then Postgres is asked, which may take longer than a recall is given.
        connection.send(&recall, br#"{"query": "kettle", "cache": "bypass"}"#.as_slice().into()).await?;
        let taken = held(site)? - before;
        if taken > 0.0 {
            return Ok(taken / count as f64);
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("the scope does not come into memory: see recall.hot_scope_memories and recall.hot_index_mb")
}

/// What its metrics say that the scopes in memory take.
fn held(site: &Site) -> anyhow::Result<f64> {
    let metrics = String::from_utf8(site.instance.app.metrics.render()?)?;
    let line = metrics.lines().find_map(|line| line.strip_prefix("cairn_hot_index_bytes "));
    Ok(line.context("no metric of the hot index")?.trim().parse()?)
}

/// What Redis says that a cached embedding takes with its key and all, on average over some.
async fn in_redis(site: &Site) -> anyhow::Result<Option<f64>> {
    let (Some(url), Some(_)) = (site.redis_url(), site.instance.app.cache.redis()) else { return Ok(None) };
    let mut redis = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let pattern = format!("{}{}:emb:*", site.instance.app.config.cache.prefix, site.tenant.id);
    let mut scan = redis::cmd("SCAN");
    scan.arg(0).arg("MATCH").arg(pattern).arg("COUNT").arg(SCANNED);
    let (_, keys): (u64, Vec<String>) = scan.query_async(&mut redis).await?;
    let mut bytes = 0_u64;
    for key in &keys {
        bytes += redis::cmd("MEMORY").arg("USAGE").arg(key).query_async::<Option<u64>>(&mut redis).await?.unwrap_or(0);
    }
    Ok((!keys.is_empty()).then(|| bytes as f64 / keys.len() as f64))
}

impl Sizes {
    pub fn print(&self) {
        let raw = self.vector + self.text;
        let mut lines = table(["bytes a memory", "", "of vector and text"]);
        let mut line = |name: &str, bytes: f64| {
            lines.add_row([name.to_owned(), format!("{bytes:.0}"), format!("{:.2} x", bytes / raw)]);
        };
        line("vector and text", raw);
        line("Postgres: tables", self.postgres_heap);
        line("Postgres: indexes", self.postgres_indexes);
        line("hot index", self.hot_index);
        if let Some(redis) = self.redis {
            line("Redis: embedding", redis);
        }
        println!("{lines}\n");
    }
}
