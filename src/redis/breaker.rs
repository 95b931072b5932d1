//! The breaker: keeps calls back from a Redis that fails. Probes alone close it again, so that no request waits for
//! what may still be broken. One line of the log a change, whatever the load.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::{IntCounter, IntGauge};
use rand::RngExt;
use tokio::sync::watch;
use tokio::time::Instant;

/// Failures in a row that open it.
const IN_A_ROW: usize = 5;
/// So many of the latest outcomes are remembered; half of them failed opens it too.
const REMEMBERED: usize = 20;
/// Between two probes, in milliseconds; random, so that instances do not probe together.
const PAUSE_MS: std::ops::Range<u64> = 500..2_000;

/// What is lost while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Everything.
    Calls,
    /// What Redis would have to keep: its memory may be full, or it may be a replica.
    Stores,
}

pub struct Breaker {
    of: Of,
    state: Mutex<State>,
    is_open: watch::Sender<bool>,
    open: IntGauge,
    opened: IntCounter,
}

enum State {
    Closed { failed: VecDeque<bool> },
    Open { since: Instant, cause: String, probing: bool },
}

impl Breaker {
    /// `open` says whether it is, `opened` how often it came to be.
    pub fn closed(of: Of, open: IntGauge, opened: IntCounter) -> Self {
        Self { of, state: Mutex::new(State::closed()), is_open: watch::Sender::new(false), open, opened }
    }

    pub fn is_open(&self) -> bool {
        *self.is_open.borrow()
    }

    /// Returns once it is open.
    pub async fn wait_until_open(&self) {
        self.wait_until(true).await;
    }

    pub async fn wait_until_closed(&self) {
        self.wait_until(false).await;
    }

    async fn wait_until(&self, wanted: bool) {
        // The sender lives as long as this does.
        let _ = self.is_open.subscribe().wait_for(|open| *open == wanted).await;
    }

    /// A call went well. What was sent before the breaker opened says nothing about now.
    pub fn succeeded(&self) {
        if let State::Closed { failed } = &mut *self.locked() {
            remember(failed, false);
        }
    }

    /// A call failed. True if that was one too many.
    pub fn failed(&self, cause: &str) -> bool {
        let mut state = self.locked();
        let State::Closed { failed } = &mut *state else { return false };
        remember(failed, true);
        let row = failed.iter().rev().take_while(|failed| **failed).count();
        let all = failed.iter().filter(|failed| **failed).count();
        if row < IN_A_ROW && (failed.len() < REMEMBERED || all * 2 < REMEMBERED) {
            return false;
        }
        *state = State::Open { since: Instant::now(), cause: cause.to_owned(), probing: false };
        self.changed(true);
        match self.of {
            Of::Calls => tracing::warn!(cause, failed = all, "Redis fails; the caches do without it"),
            Of::Stores => tracing::warn!(cause, failed = all, "Redis keeps nothing new; what it has is still read"),
        }
        true
    }

    pub fn probe_begins(&self) {
        if let State::Open { probing, .. } = &mut *self.locked() {
            *probing = true;
        }
    }

    pub fn probe_failed(&self, why: String) {
        if let State::Open { cause, probing, .. } = &mut *self.locked() {
            (*cause, *probing) = (why, false);
        }
    }

    pub fn probe_succeeded(&self) {
        let mut state = self.locked();
        let State::Open { since, .. } = &*state else { return };
        let after_ms = since.elapsed().as_millis() as u64;
        *state = State::closed();
        self.changed(false);
        match self.of {
            Of::Calls => tracing::info!(after_ms, "Redis answers again"),
            Of::Stores => tracing::info!(after_ms, "Redis keeps new entries again"),
        }
    }

    /// `closed`, `open` or `probing`, and why.
    pub fn describe(&self) -> (&'static str, Option<String>) {
        match &*self.locked() {
            State::Closed { .. } => ("closed", None),
            State::Open { cause, probing: false, .. } => ("open", Some(cause.clone())),
            State::Open { cause, .. } => ("probing", Some(cause.clone())),
        }
    }

    fn changed(&self, open: bool) {
        self.is_open.send_replace(open);
        self.open.set(open.into());
        self.opened.inc_by(open.into());
    }

    /// Nothing that is done under this lock can leave it half done.
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn closed() -> Self {
        Self::Closed { failed: VecDeque::with_capacity(REMEMBERED) }
    }
}

fn remember(outcomes: &mut VecDeque<bool>, failed: bool) {
    if outcomes.len() == REMEMBERED {
        outcomes.pop_front();
    }
    outcomes.push_back(failed);
}

/// Between two attempts at what fails.
pub fn pause() -> Duration {
    Duration::from_millis(rand::rng().random_range(PAUSE_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        let name = |name: &str| (name.to_owned(), "in a test".to_owned());
        let ((gauge, help), (counter, also)) = (name("open"), name("opened"));
        Breaker::closed(
            Of::Calls,
            IntGauge::new(gauge, help).expect("a gauge"),
            IntCounter::new(counter, also).expect("a counter"),
        )
    }

    fn fail(breaker: &Breaker, times: usize) -> usize {
        (0..times).filter(|_| breaker.failed("no answer")).count()
    }

    #[test]
    fn it_opens_after_five_failures_in_a_row() {
        let breaker = breaker();
        assert_eq!(fail(&breaker, 4), 0);
        breaker.succeeded();
        assert_eq!(fail(&breaker, 4), 0);
        assert!(!breaker.is_open());
        assert_eq!(fail(&breaker, 1), 1);
        assert!(breaker.is_open());
    }

    #[test]
    fn it_opens_when_half_of_twenty_failed() {
        let breaker = breaker();
        for _ in 0..9 {
            breaker.succeeded();
            fail(&breaker, 1);
        }
        breaker.succeeded();
        assert!(!breaker.is_open(), "19 outcomes are not enough");
        fail(&breaker, 1);
        assert!(breaker.is_open());
    }

    #[test]
    fn it_opens_once_however_many_fail_and_counts_that() {
        let breaker = breaker();
        assert_eq!(fail(&breaker, 1_000), 1);
        assert_eq!((breaker.open.get(), breaker.opened.get()), (1, 1));
    }

    #[test]
    fn a_probe_alone_closes_it() {
        let breaker = breaker();
        fail(&breaker, 5);
        breaker.succeeded();
        assert_eq!(breaker.describe(), ("open", Some("no answer".to_owned())), "an old call is no proof");
        breaker.probe_begins();
        assert_eq!(breaker.describe().0, "probing");
        breaker.probe_failed("refused".to_owned());
        assert_eq!(breaker.describe(), ("open", Some("refused".to_owned())));
        breaker.probe_begins();
        breaker.probe_succeeded();
        assert_eq!((breaker.describe(), breaker.open.get()), (("closed", None), 0));
        assert_eq!(fail(&breaker, 4), 0, "what failed before is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_change_hears_of_it_and_of_one_that_was_before() {
        let breaker = std::sync::Arc::new(breaker());
        breaker.wait_until_closed().await;
        let (waiting, closer) = (breaker.clone(), breaker.clone());
        let waiting = tokio::spawn(async move { waiting.wait_until_open().await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        fail(&breaker, 5);
        waiting.await.expect("it hears");
        let begin = Instant::now();
        tokio::spawn(async move {
            tokio::time::sleep(pause()).await;
            closer.probe_succeeded();
        });
        breaker.wait_until_closed().await;
        let pause = begin.elapsed();
        assert!((500..=2_000).contains(&pause.as_millis()), "{pause:?}");
    }
}
