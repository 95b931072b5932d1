//! Who was just refused, by the credential it presents: such a caller is refused again before anything is looked up,
//! so that a flood over a limit costs next to nothing. None is held longer than a second: a credential that is revoked
//! meanwhile is told so after that.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::ids::TenantId;
use crate::rates::standing::{Line, Standing, seconds_until};

const AT_MOST: Duration = Duration::from_secs(1);
/// From so many on, those that are over are forgotten.
const MANY: usize = 1_024;

/// Too much was asked for.
#[derive(Clone)]
pub struct Refusal {
    pub tenant: TenantId,
    pub principal: String,
    pub standing: Standing,
    pub line: Line,
    pub until: Instant,
}

impl Refusal {
    pub fn error(&self) -> Error {
        too_much(&self.line, self.until)
    }
}

/// The answer to somebody who asked for too much.
pub fn too_much(line: &Line, until: Instant) -> Error {
    let retry_after_secs = seconds_until(until, Instant::now());
    Error::Limited { detail: format!("{}; try again in {retry_after_secs} s", line.describe()), retry_after_secs }
}

/// Nothing of a credential is kept but a hash that means nothing outside of this process.
#[derive(Default)]
pub struct Refusals {
    hasher: RandomState,
    by_credential: Mutex<HashMap<u64, Refusal>>,
    /// So that nobody looks while there are none.
    count: AtomicUsize,
}

impl Refusals {
    pub fn find(&self, credential: &str) -> Option<Refusal> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let hash = self.hasher.hash_one(credential);
        let mut all = self.by_credential.lock().unwrap_or_else(PoisonError::into_inner);
        let refusal = all.get(&hash)?.clone();
        if refusal.until > Instant::now() {
            return Some(refusal);
        }
        all.remove(&hash);
        self.count.store(all.len(), Ordering::Relaxed);
        None
    }

    pub fn remember(&self, credential: &str, refusal: &Refusal) {
        let now = Instant::now();
        let refusal = Refusal { until: refusal.until.min(now + AT_MOST), ..refusal.clone() };
        let mut all = self.by_credential.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MANY {
            all.retain(|_, refusal| refusal.until > now);
        }
        all.insert(self.hasher.hash_one(credential), refusal);
        self.count.store(all.len(), Ordering::Relaxed);
    }
}
