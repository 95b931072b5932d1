//! A tenant's agents, each with its share of the memories, written past the API and its caches: what is measured
//! comes afterwards.

use std::sync::Arc;

use anyhow::Context;

use crate::cache::Owner;
use crate::cli::bench::generator::{Address, NewTexts};
use crate::cli::bench::site::Site;
use crate::cli::bench::tables::vacuum;
use crate::cli::bench::words::Vocabulary;
use crate::cli::progress::Progress;
use crate::config::Config;
use crate::embeddings::Embedder;
use crate::error::Error;
use crate::ids::ExternalId;
use crate::memories::fill;

const BATCH: u64 = 500;

pub struct Crowd {
    pub owner: Owner,
    pub address: Address,
    pub vocabulary: Arc<Vocabulary>,
    pub agents: u64,
    /// So many there are by now, of all agents together.
    pub memories: u64,
    texts: NewTexts,
    /// Without a cache, which a million texts would fill.
    embedder: Embedder,
}

impl Crowd {
    pub async fn new(site: &Site, config: &Config, agents: u64, words: usize) -> anyhow::Result<Self> {
        let vocabulary = Arc::new(Vocabulary::large());
        let texts = NewTexts::new(vocabulary.clone(), words, 1 << 40);
        let (owner, address) = (site.owner().await?, site.instance.address(&site.tenant.key)?);
        let config = config.clone();
        let embedder = tokio::task::spawn_blocking(move || Embedder::start(&config)).await;
        let embedder = embedder.context("loading the embedding model")??;
        Ok(Self { owner, address, vocabulary, agents, memories: 0, texts, embedder })
    }

    pub fn name(number: u64) -> String {
        format!("bench-{number}")
    }

    /// Agents that have memories, spread evenly over all: at most so many.
    pub fn some(&self, most: u64) -> Vec<String> {
        let filled = self.agents.min(self.memories);
        let wanted = most.min(filled);
        (0..wanted).map(|index| Self::name(index * filled / wanted)).collect()
    }

    /// Until the tenant has so many: the share of each agent in batches. Then what autovacuum does before long.
    pub async fn grow(&mut self, site: &Site, memories: u64) -> anyhow::Result<()> {
        let progress = Progress::new(memories - self.memories);
        let (before, mut done) = (self.memories, 0);
        for agent in 0..self.agents {
            let id = ExternalId::parse(&Self::name(agent)).map_err(Error::from)?;
            let mut missing = share(memories, self.agents, agent) - share(before, self.agents, agent);
            while missing > 0 {
                let some = missing.min(BATCH);
                let texts = self.texts.take(some as usize);
                let windows = self.embedder.embed_texts(&self.owner, texts.clone()).await?;
                fill(&site.instance.app.db, self.owner.tenant, &id, &texts, &windows).await?;
                missing -= some;
                done += some;
                progress.at(done, &format!("{done} memories"));
            }
        }
        progress.end();
        self.memories = memories;
        vacuum(site).await
    }
}

/// Of so many memories, what this agent has.
fn share(memories: u64, agents: u64, agent: u64) -> u64 {
    memories / agents + u64::from(agent < memories % agents)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn shares_add_up() {
        for (memories, agents) in [(1_000, 1), (1_000, 10_000), (1_003, 100)] {
            assert_eq!((0..agents).map(|agent| share(memories, agents, agent)).sum::<u64>(), memories);
        }
    }
}
