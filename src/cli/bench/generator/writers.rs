//! What is remembered: texts that nobody knows yet, or texts whose embeddings are at hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::body::Bytes;
use serde_json::json;

use crate::cli::bench::generator::http::Call;
use crate::cli::bench::words::Vocabulary;

/// Texts without end, none twice.
pub struct NewTexts {
    vocabulary: Arc<Vocabulary>,
    words: usize,
    next: AtomicU64,
}

impl NewTexts {
    /// Two that begin with different numbers, far apart, say different things.
    pub fn new(vocabulary: Arc<Vocabulary>, words: usize, first: u64) -> Self {
        Self { vocabulary, words, next: AtomicU64::new(first) }
    }

    pub fn take(&self, count: usize) -> Vec<String> {
        let first = self.next.fetch_add(count as u64, Ordering::Relaxed);
        let text = |number| format!("{} {number}", self.vocabulary.writer(number).text(self.words));
        (first..first + count as u64).map(text).collect()
    }
}

/// Agents that remember the same texts, each agent each text once: whoever has them all makes way for a new one.
pub struct Writers {
    name: &'static str,
    agents: Vec<AtomicU64>,
    bodies: Vec<Bytes>,
}

impl Writers {
    pub fn new(name: &'static str, agents: usize, texts: &[String]) -> Self {
        let bodies = texts.iter().map(|text| memory(text)).collect();
        Self { name, agents: (0..agents).map(|_| AtomicU64::new(0)).collect(), bodies }
    }

    /// What a client sends next.
    pub fn next(&self, client: u64) -> anyhow::Result<(Call, Bytes)> {
        let agent = client as usize % self.agents.len();
        let number = self.agents[agent].fetch_add(1, Ordering::Relaxed);
        let texts = self.bodies.len() as u64;
        let path = format!("/v1/agents/{}-{agent}-{}/remember", self.name, number / texts);
        Ok((Call::post(&path, 201)?, self.bodies[(number % texts) as usize].clone()))
    }
}

pub fn memory(text: &str) -> Bytes {
    Bytes::from(json!({"content": text}).to_string())
}

pub fn batch(texts: &[String]) -> Bytes {
    let memories: Vec<_> = texts.iter().map(|content| json!({"content": content})).collect();
    Bytes::from(json!({"memories": memories}).to_string())
}
