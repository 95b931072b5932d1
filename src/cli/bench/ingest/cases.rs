//! Remembering by one agent and by many at once, and importing beside the embedder that it waits for.

use std::sync::Arc;

use crate::cache::Owner;
use crate::cli::bench::generator::{Address, Bodies, Call, Case, NewTexts, Target, Writers};
use crate::cli::bench::ingest::growth::embed;
use crate::cli::bench::site::Site;
use crate::cli::bench::words::Vocabulary;

pub const REMEMBER_ONE: &str = "remember, embedded, 1 agent";
pub const REMEMBER_MANY: &str = "remember, embedded, 16 agents";
const REMEMBER_NEW: &str = "remember, new text";
pub const IMPORT: &str = "import, 100 a batch";
pub const EMBED: &str = "embedder alone, 100 a batch";

const AGENTS: usize = 16;
pub const BATCH: usize = 100;
/// Texts are numbered, so that those of one case are never those of another.
const NEW: u64 = 1 << 32;
const IMPORTED: u64 = 2 << 32;
const EMBEDDED: u64 = 3 << 32;

/// What is measured. A case goes on where its last slice ended, so that nothing is remembered twice.
pub async fn cases(site: &Site, owner: Owner, words: usize, texts: usize) -> anyhow::Result<Vec<Case>> {
    let vocabulary = Arc::new(Vocabulary::large());
    let known = NewTexts::new(vocabulary.clone(), words, 0).take(texts);
    embed(site, &owner, &known).await?;
    let address = site.instance.address(&site.tenant.key)?;
    let new = |first| NewTexts::new(vocabulary.clone(), words, first);
    let remember = |name, agents| {
        let writers = Arc::new(Writers::new(name, agents, &known));
        Target::Writers { address: address.clone(), writers }
    };
    let alone =
        Target::EmbedTexts { app: site.instance.app.clone(), owner, texts: Arc::new(new(EMBEDDED)), count: BATCH };
    Ok(vec![
        (REMEMBER_ONE, remember("one", 1)),
        (REMEMBER_MANY, remember("many", AGENTS)),
        (REMEMBER_NEW, http(&address, "/v1/agents/new/remember", 201, Bodies::Memory(new(NEW)))?),
        (IMPORT, http(&address, "/v1/agents/import/remember/batch", 200, Bodies::Batch(new(IMPORTED), BATCH))?),
        (EMBED, alone),
    ])
}

fn http(address: &Address, path: &str, status: u16, bodies: Bodies) -> anyhow::Result<Target> {
    Ok(Target::Http { address: address.clone(), call: Call::post(path, status)?, bodies: Arc::new(bodies) })
}
