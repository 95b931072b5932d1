//! Scoring: BM25, the fusion of meaning and words, recency and importance. Pure: numbers in,
//! numbers out, no clock.

use std::collections::{BTreeMap, HashMap, HashSet};

use time::OffsetDateTime;

use crate::ids::{MemoryId, ScopeId};
use crate::recall::model::{Explain, Mode};

/// The share of meaning in a hybrid score; words have the rest.
const SEMANTIC_SHARE: f64 = 0.6;
/// What recency and importance may add: enough to break ties, too little to displace a better match.
const RECENCY_WEIGHT: f64 = 0.01;
const IMPORTANCE_WEIGHT: f64 = 0.01;
const RECENCY_HALF_LIFE_DAYS: f64 = 30.0;

/// BM25 (Robertson and Zaragoza 2009, in the form of Lucene). Memories are short, so length and
/// repetition count for little.
const K1: f64 = 0.9;
const B: f64 = 0.4;

/// A memory that shares a word with the question: its sorted words, repeats included.
#[derive(Debug, Clone)]
pub struct Hit {
    pub id: MemoryId,
    pub scope: ScopeId,
    pub terms: Vec<i32>,
}

/// The words of all memories of the scopes, as far as a question needs them.
#[derive(Debug, Default)]
pub struct Lexicon {
    /// How many memories there are.
    pub documents: u64,
    /// How many words they have together.
    pub words: u64,
    /// Those that share a word with the question, filtered or not.
    pub hits: Vec<Hit>,
}

/// BM25 of every hit as a share of the highest sum that the question's words allow, best first.
pub fn lexical_scores(lexicon: &Lexicon, query: &[i32]) -> Vec<(MemoryId, ScopeId, f64)> {
    let query: HashSet<i32> = query.iter().copied().collect();
    // In one order, so that sums come out the same to the last bit, however often they are made.
    let mut frequency: BTreeMap<i32, u64> = BTreeMap::new();
    for hit in &lexicon.hits {
        for term in hit.terms.chunk_by(|a, b| a == b).map(|run| run[0]).filter(|term| query.contains(term)) {
            *frequency.entry(term).or_default() += 1;
        }
    }
    let idf = |term: &i32| {
        let found = frequency.get(term).copied().unwrap_or(0) as f64;
        (1.0 + (lexicon.documents as f64 - found + 0.5) / (found + 0.5)).ln()
    };
    // Words that no memory has cannot be matched and say nothing about those that can.
    let weights: BTreeMap<i32, f64> = frequency.keys().map(|term| (*term, idf(term))).collect();
    let ideal: f64 = weights.values().sum();
    let average = lexicon.words as f64 / lexicon.documents.max(1) as f64;
    let mut scores: Vec<_> =
        lexicon.hits.iter().map(|hit| (hit.id, hit.scope, bm25(&hit.terms, &weights, average) / ideal)).collect();
    scores.sort_by(|a, b| b.2.total_cmp(&a.2).then(b.0.cmp(&a.0)));
    scores
}

fn bm25(terms: &[i32], weights: &BTreeMap<i32, f64>, average: f64) -> f64 {
    let length = K1 * (1.0 - B + B * terms.len() as f64 / average.max(1.0));
    let runs = terms.chunk_by(|a, b| a == b);
    runs.filter_map(|run| Some(weights.get(&run[0])? * run.len() as f64 / (run.len() as f64 + length))).sum()
}

/// What is known about a memory before it is scored.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub id: MemoryId,
    pub scope: ScopeId,
    /// Cosine similarity, -1 to 1; none: not compared.
    pub similarity: Option<f64>,
    /// Normalised BM25; none: no word in common.
    pub lexical: Option<f64>,
    pub importance: f64,
    pub created_at: OffsetDateTime,
}

#[derive(Debug, Clone)]
pub struct Ranked {
    pub id: MemoryId,
    pub scope: ScopeId,
    pub score: f64,
    pub explain: Explain,
}

/// Scores the candidates, best first; of equals, the newer first. `newest` is when the newest memory
/// of the scopes was made: recency is measured from there, so that an answer does not age by itself.
pub fn rank(candidates: Vec<Candidate>, mode: Mode, newest: OffsetDateTime) -> Vec<Ranked> {
    let by_meaning = places(&candidates, |candidate| candidate.similarity);
    let by_words = places(&candidates, |candidate| candidate.lexical);
    let mut ranked: Vec<Ranked> = candidates
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
    use crate::memories::terms;

    fn lexicon(texts: &[&str], query: &str) -> (Lexicon, Vec<MemoryId>) {
        let query = terms(query);
        let ids: Vec<MemoryId> = texts.iter().map(|_| MemoryId::new()).collect();
        let scope = ScopeId::random();
        let all: Vec<Vec<i32>> = texts.iter().map(|text| terms(text)).collect();
        let words = all.iter().map(Vec::len).sum::<usize>() as u64;
        let hits = ids
            .iter()
            .zip(all)
            .filter(|(_, terms)| terms.iter().any(|term| query.contains(term)))
            .map(|(id, terms)| Hit { id: *id, scope, terms })
            .collect();
        (Lexicon { documents: texts.len() as u64, words, hits }, ids)
    }

    #[test]
    fn a_rare_word_outweighs_a_common_one() {
        let query = "broken kettle";
        let (lexicon, ids) = lexicon(&["broken door", "broken window", "broken lamp", "green kettle"], query);
        let scores = lexical_scores(&lexicon, &terms(query));
        assert_eq!(scores[0].0, ids[3]);
        assert!(scores.iter().all(|(_, _, score)| (0.0..1.0).contains(score)));
    }

    #[test]
    fn bm25_equals_the_formula_worked_by_hand() {
        let query = "kettle";
        let (lexicon, _) = lexicon(&["kettle kettle lamp", "door lamp", "window"], query);
        let [(_, _, score)] = lexical_scores(&lexicon, &terms(query))[..] else {
            panic!("one memory has the word");
        };
        // One word: idf cancels against the ideal. tf = 2, length 3, average 2.
        let expected = 2.0 / (2.0 + 0.9 * (1.0 - 0.4 + 0.4 * 3.0 / 2.0));
        assert!((score - expected).abs() < 1e-12, "{score} is not {expected}");
    }

    #[test]
    fn scores_come_out_the_same_to_the_last_bit() {
        let query = "an old copper kettle with a long spout stands on the stove beside two chipped blue cups";
        let (lexicon, _) = lexicon(&["copper kettle spout", "blue cups on the stove", "old cups", "long spout"], query);
        let scores = || lexical_scores(&lexicon, &terms(query)).into_iter().map(|(id, _, score)| (id, score.to_bits()));
        let first: Vec<_> = scores().collect();
        assert!((0..50).all(|_| scores().eq(first.iter().copied())));
    }

    fn candidate(similarity: f64, lexical: Option<f64>, importance: f64, age_days: i64) -> Candidate {
        Candidate {
            id: MemoryId::new(),
            scope: ScopeId::random(),
            similarity: Some(similarity),
            lexical,
            importance,
            created_at: OffsetDateTime::UNIX_EPOCH + Duration::days(1_000 - age_days),
        }
    }

    #[test]
    fn recency_and_importance_break_ties_and_no_more() {
        let newest = OffsetDateTime::UNIX_EPOCH + Duration::days(1_000);
        let old_better = candidate(0.60, None, 0.0, 900);
        let new_worse = candidate(0.50, None, 1.0, 0);
        let new_equal = candidate(0.60, None, 0.0, 0);
        let expected = [new_equal.id, old_better.id, new_worse.id];
        let ranked = rank(vec![old_better, new_worse, new_equal], Mode::Hybrid, newest);
        assert_eq!(ranked.iter().map(|one| one.id).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn scores_stay_between_nought_and_one() {
        let newest = OffsetDateTime::UNIX_EPOCH + Duration::days(1_000);
        for mode in [Mode::Hybrid, Mode::Semantic, Mode::Lexical] {
            let best = rank(vec![candidate(1.0, Some(1.0), 1.0, 0)], mode, newest)[0].score;
            let worst = rank(vec![candidate(-1.0, None, 0.0, 100_000)], mode, newest)[0].score;
            assert!((best - 1.0).abs() < 1e-9 && (0.0..1e-9).contains(&worst), "{mode:?}: {best}, {worst}");
        }
    }
}
