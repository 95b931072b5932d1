//! The breaker: stops asking a provider that fails, and asks once in a while whether it works again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::RngExt;

/// Failures in a row that open it.
const IN_A_ROW: usize = 5;
/// So many of the latest outcomes are remembered; half of them failed opens it too.
const REMEMBERED: usize = 20;
/// How long it stays open before a probe, in milliseconds; random, so that instances do not probe together.
const PAUSE_MS: std::ops::Range<u64> = 500..2_000;
/// A provider that asks for a longer pause gets it, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Closed with its memory of outcomes, or open until a probe succeeds.
#[derive(Debug)]
pub enum Breaker {
    Closed { failed: VecDeque<bool> },
    Open { until: Instant, probing: bool },
}

/// What a closed breaker lets through, and what an open one lets through to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    Normal,
    Probe,
}

impl Breaker {
    pub fn closed() -> Self {
        Self::Closed { failed: VecDeque::with_capacity(REMEMBERED) }
    }

    /// Whether a call may be made now.
    pub fn pass(&mut self, now: Instant) -> Option<Passage> {
        match self {
            Self::Closed { .. } => Some(Passage::Normal),
            Self::Open { until, probing } if *until <= now && !*probing => {
                *probing = true;
                Some(Passage::Probe)
            }
            Self::Open { .. } => None,
        }
    }

    /// A call went well. What was sent before the breaker opened says nothing about now.
    pub fn succeeded(&mut self, passage: Passage) {
        match (self, passage) {
            (Self::Closed { failed }, _) => remember(failed, false),
            (open, Passage::Probe) => *open = Self::closed(),
            (Self::Open { .. }, Passage::Normal) => {}
        }
    }

    /// A call failed. `wait`: how long the provider asked not to be called.
    pub fn failed(&mut self, passage: Passage, now: Instant, wait: Option<Duration>) {
        let opens = match self {
            Self::Closed { failed } => {
                remember(failed, true);
                let row = failed.iter().rev().take_while(|failed| **failed).count();
                let full = failed.len() == REMEMBERED;
                row >= IN_A_ROW || (full && failed.iter().filter(|failed| **failed).count() * 2 >= REMEMBERED)
            }
            Self::Open { .. } => passage == Passage::Probe,
        };
        if opens {
            let pause = Duration::from_millis(rand::rng().random_range(PAUSE_MS));
            let wait = wait.unwrap_or_default().min(LONGEST_PAUSE);
            *self = Self::Open { until: now + pause.max(wait), probing: false };
        }
    }

    /// A call was given up before its outcome was known.
    pub fn abandoned(&mut self, passage: Passage) {
        if let (Self::Open { probing, .. }, Passage::Probe) = (self, passage) {
            *probing = false;
        }
    }

    /// Whether it keeps calls back at this moment.
    pub fn is_open(&self, now: Instant) -> bool {
        matches!(self, Self::Open { until, probing } if *probing || now < *until)
    }
}

fn remember(outcomes: &mut VecDeque<bool>, failed: bool) {
    if outcomes.len() == REMEMBERED {
        outcomes.pop_front();
    }
    outcomes.push_back(failed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &mut Breaker, now: Instant, times: usize) {
        for _ in 0..times {
            breaker.failed(Passage::Normal, now, None);
        }
    }

    #[test]
    fn it_opens_after_five_failures_in_a_row() {
        let (mut breaker, now) = (Breaker::closed(), Instant::now());
        fail(&mut breaker, now, 4);
        breaker.succeeded(Passage::Normal);
        fail(&mut breaker, now, 4);
        assert_eq!(breaker.pass(now), Some(Passage::Normal));
        fail(&mut breaker, now, 1);
        assert_eq!(breaker.pass(now), None);
    }

    #[test]
    fn it_opens_when_half_of_twenty_failed() {
        let (mut breaker, now) = (Breaker::closed(), Instant::now());
        for _ in 0..9 {
            breaker.succeeded(Passage::Normal);
            fail(&mut breaker, now, 1);
        }
        breaker.succeeded(Passage::Normal);
        assert!(!breaker.is_open(now), "19 outcomes are not enough");
        fail(&mut breaker, now, 1);
        assert!(breaker.is_open(now));
    }

    #[test]
    fn one_probe_at_a_time_decides_after_the_pause() {
        let (mut breaker, now) = (Breaker::closed(), Instant::now());
        fail(&mut breaker, now, 5);
        assert_eq!(breaker.pass(now + Duration::from_millis(499)), None);
        let later = now + Duration::from_secs(2);
        assert_eq!(breaker.pass(later), Some(Passage::Probe));
        assert_eq!(breaker.pass(later), None, "one is on its way");
        breaker.abandoned(Passage::Probe);
        assert_eq!(breaker.pass(later), Some(Passage::Probe), "the other never ended");
        breaker.succeeded(Passage::Normal);
        assert!(breaker.is_open(later), "an old call is no proof");
        breaker.failed(Passage::Probe, later, None);
        assert_eq!(breaker.pass(later), None);
        assert_eq!(breaker.pass(later + Duration::from_secs(2)), Some(Passage::Probe));
        breaker.succeeded(Passage::Probe);
        assert_eq!(breaker.pass(later), Some(Passage::Normal));
    }

    #[test]
    fn it_stays_open_as_long_as_the_provider_asks_but_not_for_ever() {
        let (mut breaker, now) = (Breaker::closed(), Instant::now());
        fail(&mut breaker, now, 4);
        breaker.failed(Passage::Normal, now, Some(Duration::from_secs(10)));
        assert!(breaker.is_open(now + Duration::from_secs(9)));
        let later = now + Duration::from_secs(10);
        assert_eq!(breaker.pass(later), Some(Passage::Probe));
        breaker.failed(Passage::Probe, later, Some(Duration::from_secs(86_400)));
        assert!(!breaker.is_open(later + LONGEST_PAUSE));
    }
}
