//! Making answers ready before somebody asks. Counts neither as a hit nor as a miss: statistics are about those who ask.

use std::future::Future;

use bytes::Bytes;

use crate::cache::through::Walk;
use crate::cache::{Cache, Computed, Key, Sought};
use crate::error::Result;

/// What it took to have an answer ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warmth {
    /// Nothing: it was there, and is proved fresh.
    Already,
    /// It was computed.
    Warmed,
    /// It cannot be kept.
    Impossible,
}

impl Cache {
    /// Sees to it that whoever asks next finds the answer, unless something changes before. Entries that are asked for
    /// often keep their place: what is put in by this has been asked for once, and the layer drops the rarer one.
    pub async fn warm<K, Compute, Work>(&self, sought: Sought<K>, compute: Compute) -> Result<Warmth>
    where
        K: Key<Value = Bytes>,
        Compute: Fn(bool) -> Work,
        Work: Future<Output = Result<Computed>> + Send + 'static,
    {
        let wanted = sought.wanted;
        let slot = self.slot(&sought.owner, &sought.key, sought.scopes.clone()).await;
        let (Some(slot), Some(_)) = (slot, wanted.stamp) else {
            return Ok(Warmth::Impossible);
        };
        if self.holds(&slot, &wanted).await {
            return Ok(Warmth::Already);
        }
        Walk { cache: self, slot: &slot, compute }.fly(&wanted).await?;
        Ok(Warmth::Warmed)
    }
}
