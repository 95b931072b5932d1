//! What a run of a warm-up has done so far; also how far it is, for whoever goes on with it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::cache::Warmth;

/// Failures that are told one by one; the rest is counted.
const MOST_FAILURES: usize = 20;

/// What a run has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = WarmupReport)]
pub struct Report {
    /// Answers to be made ready.
    pub items: usize,
    pub warmed: usize,
    /// Were ready, and proved fresh.
    pub already_warm: usize,
    pub failed: usize,
    /// The first twenty.
    pub failures: Vec<Failure>,
    /// Questions that had to be embedded.
    pub embedding_calls: usize,
    pub milliseconds: u64,
}

/// Something that could not be made ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = WarmupFailure)]
pub struct Failure {
    /// Where in the warm-up it stands, as `/targets/0/queries/3`.
    pub item: String,
    pub reason: String,
}

impl Report {
    /// Items that need no more work.
    pub fn done(&self) -> usize {
        self.warmed + self.already_warm + self.failed
    }

    pub fn count(&mut self, item: &str, outcome: Result<Warmth, String>) {
        match outcome {
            Ok(Warmth::Warmed) => self.warmed += 1,
            Ok(Warmth::Already) => self.already_warm += 1,
            Ok(Warmth::Impossible) => self.fail(item, "caching is off, or what it depends on is just changing".into()),
            Err(reason) => self.fail(item, reason),
        }
    }

    fn fail(&mut self, item: &str, reason: String) {
        self.failed += 1;
        if self.failures.len() < MOST_FAILURES {
            self.failures.push(Failure { item: item.to_owned(), reason });
        }
    }
}
