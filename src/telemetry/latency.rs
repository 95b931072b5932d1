//! How long requests took lately, for work beside them that has to give way.

use std::time::Duration;

use prometheus::HistogramVec;
use prometheus::core::Collector;

/// Requests by how long they took, since the start: in the order of the buckets, how many took at most so long (s).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Latencies(Vec<(f64, u64)>);

/// Fewer say nothing about the slowest hundredth.
const ENOUGH: u64 = 20;

impl Latencies {
    pub(super) fn of(durations: &HistogramVec) -> Self {
        let mut sums: Vec<(f64, u64)> = Vec::new();
        for metric in durations.collect().iter().flat_map(|family| family.get_metric()) {
            for (index, bucket) in metric.get_histogram().get_bucket().iter().enumerate() {
                match sums.get_mut(index) {
                    Some((_, count)) => *count += bucket.cumulative_count(),
                    None => sums.push((bucket.upper_bound(), bucket.cumulative_count())),
                }
            }
        }
        Self(sums)
    }

    /// The 99th percentile since the last look. The next one counts from now, unless too few came to say.
    pub fn advance(&mut self, now: Self) -> Option<Duration> {
        let p99 = now.p99_since(self);
        if p99.is_some() {
            *self = now;
        }
        p99
    }

    /// The 99th percentile since an earlier look, to the precision of the buckets; none: too few requests came.
    pub fn p99_since(&self, earlier: &Self) -> Option<Duration> {
        let before = |index: usize| earlier.0.get(index).map_or(0, |(_, count)| *count);
        let since: Vec<(f64, u64)> = self
            .0
            .iter()
            .enumerate()
            .map(|(index, (bound, count))| (*bound, count.saturating_sub(before(index))))
            .collect();
        let all = since.last().map(|(_, count)| *count).filter(|all| *all >= ENOUGH)?;
        let (bound, _) = since.iter().find(|(_, count)| *count * 100 >= all * 99)?;
        Some(Duration::from_secs_f64(*bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_hundredth_since_the_last_look_is_what_counts() {
        let before = Latencies(vec![(0.001, 500), (0.01, 500), (0.1, 1_000)]);
        let after = Latencies(vec![(0.001, 600), (0.01, 699), (0.1, 1_200)]);
        assert_eq!(after.p99_since(&before), Some(Duration::from_millis(10)));
        assert_eq!(after.p99_since(&after), None);
        let slow = Latencies(vec![(0.001, 600), (0.01, 698), (0.1, 1_202)]);
        assert_eq!(slow.p99_since(&before), Some(Duration::from_millis(100)));
    }
}
