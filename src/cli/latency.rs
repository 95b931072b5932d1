//! Durations of many calls, and what to say about them.

use std::time::Duration;

use serde::Serialize;

/// Milliseconds, in the order measured.
#[derive(Debug, Clone, Default)]
pub struct Latencies(Vec<f64>);

/// All in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Percentiles {
    pub count: usize,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

impl Latencies {
    pub fn add(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64() * 1e3);
    }

    pub fn add_ms(&mut self, ms: f64) {
        self.0.push(ms);
    }

    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub fn percentiles(&self) -> Percentiles {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            // The smallest value that at least this share does not exceed.
            let place = (share * sorted.len() as f64).ceil() as usize;
            sorted.get(place.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        Percentiles { count: sorted.len(), p50: at(0.50), p95: at(0.95), p99: at(0.99), max: at(1.0) }
    }
}

impl Percentiles {
    pub const HEADER: [&'static str; 5] = ["calls", "p50 ms", "p95 ms", "p99 ms", "max ms"];

    pub fn cells(&self) -> [String; 5] {
        // A hit of a cache takes a few microseconds.
        let ms = |value: f64| if value < 1.0 { format!("{value:.3}") } else { format!("{value:.2}") };
        [self.count.to_string(), ms(self.p50), ms(self.p95), ms(self.p99), ms(self.max)]
    }
}

#[cfg(test)]
mod tests {
    use super::Latencies;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let mut latencies = Latencies::default();
        (1..=200).rev().for_each(|ms| latencies.add_ms(f64::from(ms)));
        let found = latencies.percentiles();
        assert_eq!((found.p50, found.p95, found.p99, found.max), (100.0, 190.0, 198.0, 200.0));
        assert_eq!(Latencies::default().percentiles().max, 0.0);
    }
}
