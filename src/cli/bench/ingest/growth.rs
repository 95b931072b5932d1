//! Whether remembering slows down as an agent's memories grow: one after the other, by tenths. What is remembered is
//! embedded beforehand, outside of what is measured.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::cache::Owner;
use crate::cli::bench::generator::{Call, NewTexts, memory};
use crate::cli::bench::site::Site;
use crate::cli::bench::table;
use crate::cli::bench::words::Vocabulary;
use crate::cli::latency::{Latencies, Percentiles};
use crate::cli::progress::Progress;

pub const AGENT: &str = "growing";
const AT_ONCE: usize = 100;
/// The cache of embeddings holds so many at least.
const AHEAD: u64 = 1_000;
const FIRST_TEXT: u64 = 4 << 32;

/// A tenth of the way.
#[derive(Serialize)]
pub struct Tenth {
    pub from: u64,
    pub to: u64,
    pub latency_ms: Percentiles,
}

pub struct Growth {
    pub tenths: Vec<Tenth>,
    /// Of all contents together.
    pub text_bytes: u64,
}

pub async fn run(site: &Site, owner: &Owner, count: u64, words: usize) -> anyhow::Result<Growth> {
    let call = Call::post(&format!("/v1/agents/{AGENT}/remember"), 201)?;
    let mut connection = site.instance.address(&site.tenant.key)?.connect().await?;
    let texts = NewTexts::new(Arc::new(Vocabulary::large()), words, FIRST_TEXT);
    let (progress, mut growth) = (Progress::new(count), Growth { tenths: Vec::new(), text_bytes: 0 });
    for tenth in 0..10 {
        let (from, to) = (count * tenth / 10, count * (tenth + 1) / 10);
        let (mut latencies, mut done) = (Latencies::default(), from);
        while done < to {
            let some = texts.take((to - done).min(AHEAD) as usize);
            embed(site, owner, &some).await?;
            for text in &some {
                let started = Instant::now();
                connection.call(&call, memory(text)).await?;
                latencies.add(started.elapsed());
                growth.text_bytes += text.len() as u64;
            }
            done += some.len() as u64;
            progress.at(done, &format!("{done} memories"));
        }
        growth.tenths.push(Tenth { from, to, latency_ms: latencies.percentiles() });
    }
    progress.end();
    Ok(growth)
}

/// So that their vectors are at hand when they are remembered.
pub async fn embed(site: &Site, owner: &Owner, texts: &[String]) -> anyhow::Result<()> {
    for some in texts.chunks(AT_ONCE) {
        site.instance.app.embedder.embed_texts(owner, some.to_vec()).await?;
    }
    Ok(())
}

pub fn print(tenths: &[Tenth]) {
    let mut table = table(["remember, embedded, from memory", "to"].into_iter().chain(Percentiles::HEADER));
    for tenth in tenths {
        let from_and_to = [(tenth.from + 1).to_string(), tenth.to.to_string()];
        table.add_row(from_and_to.into_iter().chain(tenth.latency_ms.cells()));
    }
    println!("{table}\n");
}
