//! What says the same as something better is no news: it comes last, and keeps its score.

use half::f16;
use pgvector::HalfVector;

use crate::recall::rank::{Candidate, Ranked};

/// From this cosine similarity on, two texts say the same.
const SAME: f64 = 0.95;

/// In their order, the duplicates that were met on the way to the first `k` others after all of them.
pub fn last(order: Vec<(&Candidate, Ranked)>, k: usize) -> Vec<Ranked> {
    let mut kept: Vec<(&Candidate, Ranked)> = Vec::with_capacity(order.len());
    let (mut repeated, mut rest) = (Vec::new(), Vec::new());
    for (candidate, mut ranked) in order {
        if kept.len() >= k {
            rest.push(ranked);
        } else if kept.iter().any(|(better, _)| says_the_same(candidate, better)) {
            ranked.explain.duplicate = true;
            repeated.push(ranked);
        } else {
            kept.push((candidate, ranked));
        }
    }
    kept.into_iter().map(|(_, ranked)| ranked).chain(rest).chain(repeated).collect()
}

/// Whether each window of the one is near one of the other's.
fn says_the_same(one: &Candidate, better: &Candidate) -> bool {
    let known = |window: &HalfVector| {
        better.vectors.iter().any(|other| cosine_of_units(window.as_slice(), other.as_slice()) >= SAME)
    };
    !one.vectors.is_empty() && one.vectors.iter().all(known)
}

fn cosine_of_units(one: &[f16], other: &[f16]) -> f64 {
    one.iter().zip(other).map(|(x, y)| f64::from(x.to_f32() * y.to_f32())).sum()
}
