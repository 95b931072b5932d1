//! How many instances share the limits. Each tells Redis that it is there; what was heard last is remembered while
//! Redis is away.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::redis::Redis;

/// How often an instance says that it is there.
pub const BEAT: Duration = Duration::from_secs(2);
/// Who has said nothing for so long is gone.
const GONE_AFTER_SECS: u64 = 10;
/// So many counts have to agree before the others are believed to be gone: a Redis that has just lost its memory hears
/// of them one by one.
const REMEMBERED: usize = 5;

pub struct Instances {
    this: Uuid,
    key: String,
    heard: Mutex<VecDeque<usize>>,
    count: AtomicUsize,
}

impl Instances {
    pub fn new(prefix: &str) -> Self {
        Self {
            this: Uuid::new_v4(),
            key: format!("{prefix}instances"),
            heard: Mutex::default(),
            count: AtomicUsize::new(1),
        }
    }

    /// 1, as long as nobody knows better.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub async fn beat(&self, redis: &Redis) {
        let heard = redis.beat(self.key.clone(), self.this.to_string(), GONE_AFTER_SECS).await;
        if let Ok(count) = heard {
            self.hear(usize::try_from(count).unwrap_or(1));
        }
    }

    fn hear(&self, count: usize) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() == REMEMBERED {
            heard.pop_front();
        }
        heard.push_back(count);
        let most = heard.iter().copied().max().unwrap_or(1).max(1);
        let before = self.count.swap(most, Ordering::Relaxed);
        if before != most {
            tracing::info!(instances = most, before, "another number of instances shares the limits");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_instances_count_at_once_and_fewer_after_a_while() {
        let instances = Instances::new("cairn:");
        assert_eq!(instances.count(), 1);
        instances.hear(3);
        assert_eq!(instances.count(), 3);
        (0..REMEMBERED - 1).for_each(|_| instances.hear(1));
        assert_eq!(instances.count(), 3, "Redis may have forgotten the others");
        instances.hear(1);
        assert_eq!(instances.count(), 1);
    }
}
