//! How good ranked answers are. Pure: places in, numbers out.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

const HIT_CUTOFFS: [usize; 3] = [1, 5, 10];

/// Where the evidence of one question was found.
#[derive(Debug, Clone, Serialize)]
pub struct Scored {
    pub id: String,
    pub category: String,
    /// The place of each piece of evidence, from 1; none: not among the results.
    pub ranks: Vec<Option<usize>>,
}

/// Averages over questions, 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metrics {
    pub questions: usize,
    /// The share of a question's evidence within the first k, by k.
    pub recall: BTreeMap<usize, f64>,
    /// Whether any evidence is within the first k, by k.
    pub hit: BTreeMap<usize, f64>,
    /// One divided by the place of the first evidence.
    pub mrr: f64,
    /// Evidence discounted by the logarithm of its place, as a share of the best order.
    pub ndcg_10: f64,
}

impl Scored {
    pub fn new(id: String, category: String, evidence: &[String], results: &[String]) -> Self {
        let places: HashMap<&str, usize> =
            results.iter().enumerate().rev().map(|(index, key)| (key.as_str(), index + 1)).collect();
        let ranks = evidence.iter().map(|key| places.get(key.as_str()).copied()).collect();
        Self { id, category, ranks }
    }

    fn within(&self, k: usize) -> usize {
        self.ranks.iter().flatten().filter(|rank| **rank <= k).count()
    }

    fn recall(&self, k: usize) -> f64 {
        self.within(k) as f64 / self.ranks.len() as f64
    }

    fn reciprocal(&self) -> f64 {
        self.ranks.iter().flatten().min().map_or(0.0, |rank| 1.0 / *rank as f64)
    }

    fn ndcg(&self, k: usize) -> f64 {
        let gain = |rank: usize| 1.0 / (rank as f64 + 1.0).log2();
        let found: f64 = self.ranks.iter().flatten().filter(|rank| **rank <= k).map(|rank| gain(*rank)).sum();
        let ideal: f64 = (1..=self.ranks.len().min(k)).map(gain).sum();
        found / ideal
    }
}

impl Metrics {
    /// Every question has evidence.
    pub fn of<'a>(scored: impl Iterator<Item = &'a Scored>, cutoffs: &[usize]) -> Self {
        let scored: Vec<&Scored> = scored.collect();
        let mean = |measure: &dyn Fn(&Scored) -> f64| {
            scored.iter().map(|one| measure(one)).sum::<f64>() / scored.len().max(1) as f64
        };
        Self {
            questions: scored.len(),
            recall: cutoffs.iter().map(|k| (*k, mean(&|one| one.recall(*k)))).collect(),
            hit: HIT_CUTOFFS.map(|k| (k, mean(&|one| f64::from(u8::from(one.within(k) > 0))))).into(),
            mrr: mean(&Scored::reciprocal),
            ndcg_10: mean(&|one| one.ndcg(10)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(evidence: &[&str], results: &[&str]) -> Scored {
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        Scored::new("q".into(), "any".into(), &owned(evidence), &owned(results))
    }

    #[test]
    fn measures_equal_those_worked_by_hand() {
        let both = scored(&["a", "b"], &["x", "a", "y", "b"]);
        let none = scored(&["c"], &["x", "y"]);
        let metrics = Metrics::of([&both, &none].into_iter(), &[1, 2, 10]);
        assert_eq!(metrics.recall, BTreeMap::from([(1, 0.0), (2, 0.25), (10, 0.5)]));
        assert_eq!(metrics.hit, BTreeMap::from([(1, 0.0), (5, 0.5), (10, 0.5)]));
        assert_eq!(metrics.mrr, 0.25);
        let expected = (1.0 / 3_f64.log2() + 1.0 / 5_f64.log2()) / (1.0 + 1.0 / 3_f64.log2()) / 2.0;
        assert!((metrics.ndcg_10 - expected).abs() < 1e-12);
    }

    #[test]
    fn more_evidence_than_places_can_still_be_perfect() {
        let keys: Vec<String> = (0..12).map(|key| key.to_string()).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let metrics = Metrics::of([&scored(&keys, &keys)].into_iter(), &[10]);
        assert!((metrics.ndcg_10 - 1.0).abs() < 1e-12);
        assert!((metrics.recall[&10] - 10.0 / 12.0).abs() < 1e-12);
    }
}
