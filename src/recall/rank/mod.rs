//! Scoring: the fusion of meaning and words, recency and importance. Pure: numbers in, numbers out, no clock.

mod bm25;
mod similarity;
mod windows;

use std::collections::HashMap;

use pgvector::HalfVector;
use time::OffsetDateTime;

use crate::ids::{MemoryId, ScopeId};
use crate::memories::Thread;
use crate::recall::model::{Explain, Mode};
use crate::recall::question::Question;

pub use bm25::{Bm25, Corpus, NEIGHBOUR_SHARE};
pub use similarity::Similarity;
pub use windows::{Lexicon, Line, lexical_scores};

/// The share of meaning in a hybrid score; words have the rest.
const SEMANTIC_SHARE: f64 = 0.6;
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

#[derive(Debug, Clone)]
pub struct Ranked {
    pub id: MemoryId,
    pub scope: ScopeId,
    pub score: f64,
    pub explain: Explain,
}

/// Scores the candidates, best first; of equals, the newer first. Recency is measured from the newest memory of the
/// scopes, so that an answer does not age by itself.
pub fn rank(pool: Pool, _question: &Question, mode: Mode) -> Vec<Ranked> {
    let Some(newest) = pool.newest else { return Vec::new() };
    let by_meaning = places(&pool.candidates, |candidate| candidate.similarity);
    let by_words = places(&pool.candidates, |candidate| candidate.lexical);
    let mut ranked: Vec<Ranked> = pool
        .candidates
        .into_iter()
        .map(|candidate| {
            let explain = Explain {
                semantic: candidate.similarity.map(|similarity| similarity.clamp(0.0, 1.0)),
                lexical: candidate.lexical,
                recency: recency(newest, candidate.created_at),
                importance: candidate.importance,
                rank_semantic: by_meaning.get(&candidate.id).copied(),
                rank_lexical: by_words.get(&candidate.id).copied(),
            };
            Ranked { id: candidate.id, scope: candidate.scope, score: score(&explain, mode), explain }
        })
        .collect();
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.id.cmp(&a.id)));
    ranked
}

fn score(parts: &Explain, mode: Mode) -> f64 {
    let semantic = parts.semantic.unwrap_or(0.0);
    let lexical = parts.lexical.unwrap_or(0.0);
    let found = match mode {
        Mode::Hybrid => SEMANTIC_SHARE * semantic + (1.0 - SEMANTIC_SHARE) * lexical,
        Mode::Semantic => semantic,
        Mode::Lexical => lexical,
    };
    (1.0 - RECENCY_WEIGHT - IMPORTANCE_WEIGHT) * found
        + RECENCY_WEIGHT * parts.recency
        + IMPORTANCE_WEIGHT * parts.importance
}

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
mod tests {
    use time::Duration;

    use super::*;

    fn candidate(similarity: f64, lexical: Option<f64>, importance: f64, age_days: i64) -> Candidate {
        Candidate {
            id: MemoryId::new(),
            scope: ScopeId::random(),
            similarity: Some(similarity),
            lexical,
            importance,
            created_at: OffsetDateTime::UNIX_EPOCH + Duration::days(1_000 - age_days),
            occurred_at: None,
            speaker: None,
            thread: None,
            vectors: Vec::new(),
        }
    }

    fn ranked(candidates: Vec<Candidate>, mode: Mode) -> Vec<Ranked> {
        let newest = Some(OffsetDateTime::UNIX_EPOCH + Duration::days(1_000));
        rank(Pool { candidates, newest, ..Pool::default() }, &Question::read("kettle"), mode)
    }

    #[test]
    fn recency_and_importance_break_ties_and_no_more() {
        let old_better = candidate(0.60, None, 0.0, 900);
        let new_worse = candidate(0.50, None, 1.0, 0);
        let new_equal = candidate(0.60, None, 0.0, 0);
        let expected = [new_equal.id, old_better.id, new_worse.id];
        let found = ranked(vec![old_better, new_worse, new_equal], Mode::Hybrid);
        assert_eq!(found.iter().map(|one| one.id).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn scores_stay_between_nought_and_one() {
        for mode in [Mode::Hybrid, Mode::Semantic, Mode::Lexical] {
            let best = ranked(vec![candidate(1.0, Some(1.0), 1.0, 0)], mode)[0].score;
            let worst = ranked(vec![candidate(-1.0, None, 0.0, 100_000)], mode)[0].score;
            assert!((best - 1.0).abs() < 1e-9 && (0.0..1e-9).contains(&worst), "{mode:?}: {best}, {worst}");
        }
    }
}
