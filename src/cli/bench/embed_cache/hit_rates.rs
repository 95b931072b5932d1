//! The local layer as it is, side by side with caches by the book that have room for as many texts.

use std::collections::HashSet;

use hyper::body::Bytes;
use serde::Serialize;
use tokio::runtime::Handle;

use crate::cache::{Cache, Cost, Key, Kind, Made, Millis, Owner, Wanted};
use crate::cli::bench::embed_cache::policies::{Policy, Simulated};
use crate::cli::bench::embed_cache::sequences;
use crate::cli::bench::site::Site;
use crate::cli::bench::table;
use crate::config;

/// The least there is: about a thousand texts.
const LOCAL_MB: u64 = 1;
const PACKED_BYTES_A_DIMENSION: usize = 2;

#[derive(Serialize)]
pub struct HitRates {
    /// Texts that the local layer had room for.
    room: usize,
    sequences: Vec<Rates>,
}

/// Shares of the calls.
#[derive(Serialize)]
struct Rates {
    sequence: &'static str,
    calls: usize,
    local_layer: f64,
    lru: f64,
    fifo: f64,
    /// Of a cache that keeps everything: nothing can do better.
    best: f64,
}

/// Stands for a text.
struct Text([u8; 4]);

impl Key for Text {
    const KIND: Kind = Kind::Embedding;
    type Value = Bytes;

    fn namespace(&self) -> String {
        "bench:".into()
    }

    fn identity(&self) -> &[u8] {
        &self.0
    }
}

pub async fn measure(site: &Site) -> anyhow::Result<HitRates> {
    let local = Local { site, owner: site.owner().await? };
    let room = local.room().await?;
    let mut rates = Vec::new();
    for sequence in sequences::all(room) {
        let texts = &sequence.texts;
        let share = |hits: usize| hits as f64 / texts.len().max(1) as f64;
        let simulated = |policy| {
            let mut cache = Simulated::new(policy, room);
            share(texts.iter().filter(|text| cache.visit(**text)).count())
        };
        let different = texts.iter().collect::<HashSet<_>>().len();
        rates.push(Rates {
            sequence: sequence.name,
            calls: texts.len(),
            local_layer: share(local.hits(texts).await?),
            lru: simulated(Policy::Lru),
            fifo: simulated(Policy::Fifo),
            best: share(texts.len() - different),
        });
    }
    Ok(HitRates { room, sequences: rates })
}

/// A cache in this process alone, with little room, and new for every sequence.
struct Local<'a> {
    site: &'a Site,
    owner: Owner,
}

impl Local<'_> {
    fn open(&self) -> anyhow::Result<Cache> {
        let app = &self.site.instance.app;
        let settings = config::Cache { local_mb: LOCAL_MB, ..app.config.cache.clone() };
        Cache::open(&settings, None, &app.db, &app.secret_key, Handle::current())
    }

    /// How many texts fit, found by putting in more than that.
    async fn room(&self) -> anyhow::Result<usize> {
        let cache = self.open()?;
        for text in 0..10_000 {
            self.visit(&cache, text).await?;
        }
        cache.tidy();
        let (entries, _) = cache.stats().of(self.owner.tenant).0.local(Kind::Embedding);
        Ok(entries as usize)
    }

    async fn hits(&self, texts: &[u32]) -> anyhow::Result<usize> {
        let (cache, mut hits) = (self.open()?, 0);
        for text in texts {
            hits += usize::from(self.visit(&cache, *text).await?);
        }
        Ok(hits)
    }

    /// Whether it was there; now it is, unless the cache thinks that others are more useful.
    async fn visit(&self, cache: &Cache, text: u32) -> anyhow::Result<bool> {
        let Some(slot) = cache.slot(&self.owner, &Text(text.to_be_bytes()), Vec::new()).await else {
            anyhow::bail!("embeddings are not cached: see the setting cache.embedding");
        };
        if cache.get(&slot, &Wanted::ANY).await.is_some() {
            return Ok(true);
        }
        let value = Bytes::from(vec![0; self.site.instance.app.embedder.dims() * PACKED_BYTES_A_DIMENSION]);
        let made = Made { value, stamp: None, made_at: 0, valid_until: Millis::MAX, cost: Cost::default() };
        cache.put(vec![(&slot, made)]);
        Ok(false)
    }
}

impl HitRates {
    pub fn print(&self) {
        let mut lines = table(["texts found", "calls", "local layer", "LRU", "FIFO", "best possible"]);
        for rates in &self.sequences {
            let shares = [rates.local_layer, rates.lru, rates.fifo, rates.best];
            let shares = shares.map(|share| format!("{:.1} %", share * 100.0));
            lines.add_row([rates.sequence.to_owned(), rates.calls.to_string()].into_iter().chain(shares));
        }
        println!("\n{lines}\n\neach with room for {} texts", self.room);
    }
}
