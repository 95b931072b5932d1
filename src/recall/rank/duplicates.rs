//! What says the same as something better is no news: it comes last, and keeps its score.

use half::slice::HalfFloatSliceExt;

use crate::recall::rank::similarity::dot;
use crate::recall::rank::{Candidate, Ranked};

/// From this cosine similarity on, two texts say the same.
const SAME: f64 = 0.95;

/// In their order, the duplicates that were met on the way to the first `k` others after all of them.
pub fn last(order: Vec<(&Candidate, Ranked)>, k: usize) -> Vec<Ranked> {
    let mut kept: Vec<(Windows, Ranked)> = Vec::with_capacity(k.min(order.len()));
    let (mut repeated, mut rest) = (Vec::new(), Vec::new());
    for (candidate, mut ranked) in order {
        if kept.len() >= k {
            rest.push(ranked);
            continue;
        }
        let windows = windows(candidate);
        if kept.iter().any(|(better, _)| says_the_same(&windows, better)) {
            ranked.explain.duplicate = true;
            repeated.push(ranked);
        } else {
            kept.push((windows, ranked));
        }
    }
    kept.into_iter().map(|(_, ranked)| ranked).chain(rest).chain(repeated).collect()
}

/// The unit vectors of a memory.
type Windows = Vec<Vec<f32>>;

fn windows(candidate: &Candidate) -> Windows {
    candidate.vectors.iter().map(|window| window.as_slice().to_f32_vec()).collect()
}

/// Whether each window of the one is near one of the other's.
fn says_the_same(one: &Windows, better: &Windows) -> bool {
    let known = |window: &Vec<f32>| better.iter().any(|other| dot(window, other) >= SAME);
    !one.is_empty() && one.iter().all(known)
}
