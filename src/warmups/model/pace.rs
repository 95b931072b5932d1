//! How fast a run goes: at most so many items a second, and slower while callers feel it (additive increase,
//! multiplicative decrease, as TCP does it).

use std::time::Duration;

/// The longest pause between two items: a run always gets somewhere.
const SLOWEST: Duration = Duration::from_secs(5);

/// What is known of the callers since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressure {
    /// The 99th percentile of the time that requests took; none: too few came to say.
    pub p99: Option<Duration>,
    /// The embedding provider refused, or was too slow.
    pub pushed_back: bool,
}

#[derive(Debug, Clone)]
pub struct Pace {
    fastest: Duration,
    pause: Duration,
    /// What requests took before the run began.
    calm: Option<Duration>,
}

impl Pace {
    pub fn of(items_per_second: u32, calm: Option<Duration>) -> Self {
        let fastest = Duration::from_secs(1) / items_per_second.max(1);
        Self { fastest, pause: fastest, calm }
    }

    /// How long to wait before the next item.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Halves the pace under pressure, else quickens it by a tenth of the fastest.
    pub fn heed(&mut self, pressure: Pressure) {
        if pressure.pushed_back || self.is_felt(pressure.p99) {
            self.pause = (self.pause * 2).min(SLOWEST);
            return;
        }
        let per_second = 1.0 / self.pause.as_secs_f64() + 0.1 / self.fastest.as_secs_f64();
        self.pause = Duration::from_secs_f64(1.0 / per_second).max(self.fastest);
    }

    /// Twice as slow as before the run, and slow enough to be noticed.
    fn is_felt(&self, p99: Option<Duration>) -> bool {
        const NOTICED: Duration = Duration::from_millis(20);
        let calm = self.calm.unwrap_or(NOTICED / 2);
        p99.is_some_and(|p99| p99 > NOTICED && p99 > calm * 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Pressure = Pressure { p99: Some(Duration::from_millis(10)), pushed_back: false };

    fn pace() -> Pace {
        Pace::of(20, Some(Duration::from_millis(10)))
    }

    #[test]
    fn without_pressure_it_keeps_to_its_rate() {
        let mut pace = pace();
        (0..100).for_each(|_| pace.heed(CALM));
        assert_eq!(pace.pause(), Duration::from_millis(50));
        pace.heed(Pressure { p99: None, ..CALM });
        assert_eq!(pace.pause(), Duration::from_millis(50));
    }

    #[test]
    fn it_slows_down_while_callers_feel_it_and_comes_back() {
        let mut pace = pace();
        let slow = Pressure { p99: Some(Duration::from_millis(45)), ..CALM };
        (0..2).for_each(|_| pace.heed(slow));
        assert_eq!(pace.pause(), Duration::from_millis(200));
        (0..20).for_each(|_| pace.heed(slow));
        assert_eq!(pace.pause(), SLOWEST);
        (0..12).for_each(|_| pace.heed(CALM));
        assert_eq!(pace.pause(), Duration::from_millis(50));
    }

    #[test]
    fn what_is_always_slow_or_never_felt_is_no_reason() {
        let mut slow_before = Pace::of(20, Some(Duration::from_millis(100)));
        slow_before.heed(Pressure { p99: Some(Duration::from_millis(150)), ..CALM });
        assert_eq!(slow_before.pause(), Duration::from_millis(50));
        let mut quick = Pace::of(20, Some(Duration::from_micros(300)));
        quick.heed(Pressure { p99: Some(Duration::from_millis(2)), ..CALM });
        assert_eq!(quick.pause(), Duration::from_millis(50));
    }

    #[test]
    fn a_provider_that_pushes_back_is_left_alone_for_longer_and_longer() {
        let mut pace = pace();
        pace.heed(Pressure { pushed_back: true, ..CALM });
        assert_eq!(pace.pause(), Duration::from_millis(100));
    }
}
