//! Scoring: the fusion of meaning and words, what the question names, threads, recency and importance; and what says
//! the same twice. Pure: numbers in, numbers out, no clock. The formulae are in docs/recall.md.

mod bm25;
mod duplicates;
mod evidence;
mod similarity;
mod windows;

use std::collections::HashMap;

use pgvector::HalfVector;
use time::OffsetDateTime;

use crate::ids::{MemoryId, ScopeId};
use crate::memories::Thread;
use crate::recall::model::{Explain, Explaining, Mode, Rule};
use crate::recall::question::Question;
use evidence::{Evidence, Named};

pub use bm25::{Bm25, Corpus};
pub use similarity::{Similarity, length};
pub use windows::{Lexicon, Line, lexical_scores, share, window_length};

/// What the best memory of a thread says about the others of it.
const THREAD_SHARE: f64 = 0.3;
/// What recency and importance may add: enough to break ties, too little to displace a better match.
const RECENCY_WEIGHT: f64 = 0.01;
const IMPORTANCE_WEIGHT: f64 = 0.01;
const RECENCY_HALF_LIFE_DAYS: f64 = 30.0;

/// What is known about a memory before it is scored.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub id: MemoryId,
    /// The first of the scopes searched that it is visible in.
    pub scope: ScopeId,
    /// Cosine similarity of its best window, -1 to 1; none: not compared.
    pub similarity: Option<f64>,
    /// Normalised BM25; none: no word in common.
    pub lexical: Option<f64>,
    pub importance: f64,
    pub created_at: OffsetDateTime,
    pub occurred_at: Option<OffsetDateTime>,
    pub speaker: Option<String>,
    pub thread: Option<Thread>,
    /// One for each window; none where nothing is compared by meaning.
    pub vectors: Vec<HalfVector>,
}

/// The best of each side, and what is known of all memories of the scopes.
#[derive(Debug, Default)]
pub struct Pool {
    pub candidates: Vec<Candidate>,
    pub corpus: Corpus,
    /// When the newest memory of the scopes was made.
    pub newest: Option<OffsetDateTime>,
}

/// How to rank.
#[derive(Debug, Clone, Copy)]
pub struct Ranking<'a> {
    pub question: &'a Question,
    pub mode: Mode,
    pub rules: &'a Explaining,
    /// How many results are wanted. Nothing is known of duplicates among those that follow.
    pub k: usize,
}

#[derive(Debug, Clone)]
pub struct Ranked {
    pub id: MemoryId,
    pub scope: ScopeId,
    pub score: f64,
    pub explain: Explain,
}

/// Scores the candidates, best first; of equals, the newer first. What says the same as a better one comes last.
pub fn rank(pool: &Pool, ranking: &Ranking<'_>) -> Vec<Ranked> {
    let Some(newest) = pool.newest else { return Vec::new() };
    let candidates = &pool.candidates;
    let evidence = Evidence::new(pool, ranking);
    let found: Vec<f64> = candidates.iter().map(|candidate| evidence.of(candidate)).collect();
    let threads =
        if ranking.rules.applies(Rule::Thread) { best_of_threads(candidates, &found) } else { HashMap::new() };
    let by_meaning = places(candidates, |candidate| candidate.similarity);
    let by_words = places(candidates, |candidate| candidate.lexical);
    let mut order: Vec<(&Candidate, Ranked)> = Vec::with_capacity(candidates.len());
    for (candidate, own) in candidates.iter().zip(&found) {
        let thread = thread(candidate).and_then(|thread| threads.get(&thread).copied());
        let Named { speaker, date } = evidence.named(candidate);
        let explain = Explain {
            semantic: candidate.similarity.map(|similarity| similarity.clamp(0.0, 1.0)),
            lexical: candidate.lexical,
            speaker,
            date,
            thread,
            recency: recency(newest, candidate.created_at),
            importance: candidate.importance,
            rank_semantic: by_meaning.get(&candidate.id).copied(),
            rank_lexical: by_words.get(&candidate.id).copied(),
            duplicate: false,
            rerank: None,
        };
        let score = score(*own, &explain, ranking.rules);
        order.push((candidate, Ranked { id: candidate.id, scope: candidate.scope, score, explain }));
    }
    order.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score).then(b.id.cmp(&a.id)));
    let applies = ranking.rules.applies(Rule::Duplicates);
    if applies { duplicates::last(order, ranking.k) } else { order.into_iter().map(|(_, one)| one).collect() }
}

/// The evidence of a memory and of the best of its thread, and what breaks ties.
fn score(own: f64, parts: &Explain, rules: &Explaining) -> f64 {
    let found = (1.0 - THREAD_SHARE) * own + THREAD_SHARE * parts.thread.unwrap_or(own);
    let weight = |rule, weight| if rules.applies(rule) { weight } else { 0.0 };
    let recency = weight(Rule::Recency, RECENCY_WEIGHT);
    let importance = weight(Rule::Importance, IMPORTANCE_WEIGHT);
    (1.0 - recency - importance) * found + recency * parts.recency + importance * parts.importance
}

/// Agents name their sources for themselves, so a thread is one of a scope.
fn thread(candidate: &Candidate) -> Option<(ScopeId, i64)> {
    candidate.thread.map(|thread| (candidate.scope, thread.key))
}

fn best_of_threads(candidates: &[Candidate], found: &[f64]) -> HashMap<(ScopeId, i64), f64> {
    let mut best: HashMap<(ScopeId, i64), f64> = HashMap::new();
    for (candidate, found) in candidates.iter().zip(found) {
        if let Some(thread) = thread(candidate) {
            best.entry(thread).and_modify(|best| *best = best.max(*found)).or_insert(*found);
        }
    }
    best
}

/// Measured from the newest memory of the scopes, so that an answer does not age by itself.
fn recency(newest: OffsetDateTime, created: OffsetDateTime) -> f64 {
    let days = (newest - created).as_seconds_f64().max(0.0) / 86_400.0;
    0.5_f64.powf(days / RECENCY_HALF_LIFE_DAYS)
}

/// The place of each candidate by one measure alone, from 1.
fn places(candidates: &[Candidate], measure: impl Fn(&Candidate) -> Option<f64>) -> HashMap<MemoryId, usize> {
    let mut order: Vec<(f64, MemoryId)> =
        candidates.iter().filter_map(|candidate| Some((measure(candidate)?, candidate.id))).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    order.into_iter().enumerate().map(|(index, (_, id))| (id, index + 1)).collect()
}

#[cfg(test)]
mod tests;
