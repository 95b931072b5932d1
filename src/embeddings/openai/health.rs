//! What readiness says of a provider that is called.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::Failure;
use super::lane::Lanes;
use crate::embeddings::ProviderState;
use crate::embeddings::metrics::Outcome;

const NOT_CALLED: u8 = 0;
const ANSWERED: u8 = 1;
const FAILED: u8 = 2;

pub struct Health {
    last: AtomicU8,
    lanes: Arc<Lanes>,
}

impl Health {
    pub fn new(lanes: Arc<Lanes>) -> Self {
        Self { last: AtomicU8::new(NOT_CALLED), lanes }
    }

    /// Notes what became of a call, in the words of the metrics.
    pub fn called<T>(&self, outcome: &Result<T, Failure>) -> Outcome {
        let (outcome, last) = match outcome {
            Ok(_) => (Outcome::Answered, ANSWERED),
            Err(Failure::TooLong) => (Outcome::TooLong, ANSWERED),
            Err(_) => (Outcome::Failed, FAILED),
        };
        self.last.store(last, Ordering::Relaxed);
        outcome
    }

    pub fn state(&self) -> ProviderState {
        let last = self.last.load(Ordering::Relaxed);
        let detail = match last {
            NOT_CALLED => "not called yet".to_owned(),
            ANSWERED => "the last call was answered".to_owned(),
            _ => format!("the last call failed; {} breaker(s) open", self.lanes.open()),
        };
        ProviderState { ok: last != FAILED, detail }
    }
}
