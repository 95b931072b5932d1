//! Vectors that lie as those of texts do: in topics, each with a few things that are said of it again and again.
//! Uniform noise would have no neighbours worth finding.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Vectors that have a topic in common, on average.
const OF_A_TOPIC: usize = 500;
const LEAST_TOPICS: usize = 20;
const THINGS: usize = 25;

/// What a vector is made of: what all have in common, its topic, the thing that is said, and what is its own.
/// Two that say the same have a cosine of 0.7, two of a topic 0.45, any others 0.1.
const SHARES: [f32; 4] = [0.3, 0.6, 0.5, 0.55];
/// How unevenly topics are spread: the first are the commonest.
const UNEVENNESS: f32 = 1.5;

pub struct Clusters {
    common: Vec<f32>,
    topics: Vec<Vec<f32>>,
    things: Vec<Vec<f32>>,
}

impl Clusters {
    pub fn new(vectors: usize, dims: usize) -> Self {
        let mut random = StdRng::seed_from_u64(1);
        let topics = (vectors / OF_A_TOPIC).max(LEAST_TOPICS);
        let mut directions = |count: usize| (0..count).map(|_| direction(&mut random, dims)).collect::<Vec<_>>();
        let (topics, things) = (directions(topics), directions(topics * THINGS));
        Self { common: direction(&mut random, dims), topics, things }
    }

    /// One after the other, without end; of two with the same seed each is the same.
    pub fn vectors(&self, seed: u64) -> impl Iterator<Item = Vec<f32>> + '_ {
        let mut random = StdRng::seed_from_u64(seed);
        std::iter::repeat_with(move || self.vector(&mut random))
    }

    fn vector(&self, random: &mut StdRng) -> Vec<f32> {
        let place = random.random::<f32>().powf(UNEVENNESS) * self.topics.len() as f32;
        let topic = (place as usize).min(self.topics.len() - 1);
        let thing = topic * THINGS + random.random_range(0..THINGS);
        let own = direction(random, self.common.len());
        let parts = [&self.common, &self.topics[topic], &self.things[thing], &own];
        let sum = |index: usize| parts.iter().zip(SHARES).map(|(part, share)| part[index] * share).sum();
        unit((0..self.common.len()).map(sum).collect())
    }
}

/// Any direction is as likely as any other.
fn direction(random: &mut StdRng, dims: usize) -> Vec<f32> {
    // A sum of six is as good as normal.
    unit((0..dims).map(|_| (0..6).map(|_| random.random::<f32>() - 0.5).sum()).collect())
}

fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|value| *value /= length);
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(one: &[f32], other: &[f32]) -> f32 {
        one.iter().zip(other).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn vectors_have_near_neighbours_and_the_same_seed_says_the_same() {
        let clusters = Clusters::new(2_000, 64);
        let some: Vec<Vec<f32>> = clusters.vectors(7).take(400).collect();
        assert_eq!(some[..5], clusters.vectors(7).take(5).collect::<Vec<_>>());
        let nearest = |one: usize| {
            let others = (0..some.len()).filter(|other| *other != one);
            others.map(|other| cosine(&some[one], &some[other])).fold(-1.0, f32::max)
        };
        let near = (0..20).filter(|one| nearest(*one) > 0.5).count();
        let far = (1..20).filter(|other| cosine(&some[0], &some[*other]) < 0.35).count();
        assert!(near >= 15 && far >= 10, "{near} of 20 have a neighbour, {far} of 19 are far away");
    }
}
