//! Uneven choice: the first of so many is the commonest, and frequency falls with the rank to a power (Zipf).

use rand::RngExt;
use rand::rngs::StdRng;

#[derive(Debug, Clone)]
pub struct Zipf {
    /// The share that each one and those before it have.
    shares: Vec<f64>,
}

impl Zipf {
    /// With an exponent of 0 all are equally common.
    pub fn new(count: usize, exponent: f64) -> Self {
        let weights = (1..=count).map(|rank| (rank as f64).powf(-exponent));
        let mut shares: Vec<f64> = weights
            .scan(0.0, |sum, weight| {
                *sum += weight;
                Some(*sum)
            })
            .collect();
        let total = shares.last().copied().unwrap_or(1.0);
        shares.iter_mut().for_each(|share| *share /= total);
        Self { shares }
    }

    /// One of them, counted from 0.
    pub fn choose(&self, random: &mut StdRng) -> usize {
        let at: f64 = random.random();
        // Rounding may leave the last share a little below 1.
        self.shares.partition_point(|share| *share < at).min(self.shares.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn frequency_falls_with_the_rank() {
        let (zipf, mut random) = (Zipf::new(100, 1.0), StdRng::seed_from_u64(1));
        let mut counts = [0_u32; 100];
        (0..100_000).for_each(|_| counts[zipf.choose(&mut random)] += 1);
        // The sum of 1/rank up to 100 is 5.187.
        assert!((18_500..20_000).contains(&counts[0]), "{}", counts[0]);
        assert!((9_200..10_100).contains(&counts[1]), "{}", counts[1]);
        assert!(counts[99] > 100, "{}", counts[99]);
    }

    #[test]
    fn without_an_exponent_all_are_equally_common() {
        let (zipf, mut random) = (Zipf::new(4, 0.0), StdRng::seed_from_u64(2));
        let mut counts = [0_u32; 4];
        (0..40_000).for_each(|_| counts[zipf.choose(&mut random)] += 1);
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }
}
