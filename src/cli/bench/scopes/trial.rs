//! The same questions with an index and without.

use std::collections::HashSet;
use std::time::Instant;

use pgvector::HalfVector;
use serde::Serialize;

use crate::app::App;
use crate::cli::latency::{Latencies, Percentiles};
use crate::cli::progress::Progress;
use crate::ids::MemoryId;
use crate::json::{self, FromJson};
use crate::memories::MemoryFilter;
use crate::recall::{Search, Vectors, nearest};

/// As many as a recall takes from its semantic side, and of how many the share that was found is told.
const DEPTH: usize = 50;
const TOP: usize = 10;

/// Share of the memories, in percent, and the filter that lets it pass.
pub const FILTERS: [(u8, &str); 3] =
    [(1, r#"{"tags_any":["hundredth"]}"#), (10, r#"{"tags_any":["tenth"]}"#), (100, "{}")];

/// What the questions found with one filter, by one way.
pub struct Answers {
    found: Vec<Vec<MemoryId>>,
    /// How many were answered by the index.
    by_index: usize,
    latencies: Latencies,
}

#[derive(Serialize)]
pub struct Row {
    pub vectors: usize,
    pub filter_percent: u8,
    /// Share of the ten nearest that were found.
    pub recall_at_10: f64,
    /// The fewest that a question brought back, of 50, and how many there were.
    pub fewest: usize,
    pub wanted: usize,
    /// How many of the questions the index answered; the others were compared with every memory.
    pub by_index: usize,
    pub questions: usize,
    pub exact_ms: Percentiles,
    pub indexed_ms: Percentiles,
}

pub async fn ask(app: &App, vectors: &Vectors, filter: &str, questions: &[HalfVector]) -> anyhow::Result<Answers> {
    let filter = json::parse(filter.as_bytes(), json::MAX_DEPTH)?;
    let filter = MemoryFilter::from_json(&filter).map_err(crate::error::Error::from)?;
    let scopes = [vectors.scope];
    let search = Search { tenant: vectors.tenant, scopes: &scopes, filter: &filter, depth: DEPTH };
    let (progress, mut answers) = (Progress::new(questions.len() as u64), Answers::none());
    for (number, question) in questions.iter().enumerate() {
        let started = Instant::now();
        let mut conn = app.db.read(vectors.tenant).await?;
        let near = nearest(&mut conn, &search, question).await?;
        drop(conn);
        answers.latencies.add(started.elapsed());
        answers.by_index += usize::from(near.approximate);
        answers.found.push(near.memories.into_iter().map(|(id, _)| id).collect());
        progress.at(number as u64, "questions");
    }
    progress.end();
    Ok(answers)
}

impl Answers {
    fn none() -> Self {
        Self { found: Vec::new(), by_index: 0, latencies: Latencies::default() }
    }

    /// These, by the index, beside those that it was spared.
    pub fn beside(&self, exact: &Self, vectors: usize, filter_percent: u8) -> Row {
        let pairs = self.found.iter().zip(&exact.found);
        let (mut found, mut all) = (0, 0);
        for (indexed, exact) in pairs {
            let indexed: HashSet<&MemoryId> = indexed.iter().take(TOP).collect();
            found += exact.iter().take(TOP).filter(|id| indexed.contains(id)).count();
            all += exact.len().min(TOP);
        }
        let fewest = |answers: &Self| answers.found.iter().map(Vec::len).min().unwrap_or(0);
        Row {
            vectors,
            filter_percent,
            recall_at_10: found as f64 / all.max(1) as f64,
            fewest: fewest(self),
            wanted: fewest(exact),
            by_index: self.by_index,
            questions: self.found.len(),
            exact_ms: exact.latencies.percentiles(),
            indexed_ms: self.latencies.percentiles(),
        }
    }
}
