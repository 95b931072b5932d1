//! Threads: memories that were said one after the other.

use sha2::{Digest, Sha256};

use crate::memories::fields::MemoryFields;

const SECONDS_A_DAY: i64 = 86_400;

/// A memory's place in a thread. A thread is what comes from one source on one day (UTC), since a source may be a chat
/// that goes on for years; `source.seq` gives the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thread {
    /// Of source and day. Migration 0015 computes the same for older memories.
    pub key: i64,
    pub seq: i64,
}

impl Thread {
    /// None: nothing says what came before or after.
    pub fn of(memory: &MemoryFields) -> Option<Self> {
        let source = memory.source.as_ref()?;
        let day = memory.occurred_at.map(|at| at.unix_timestamp().div_euclid(SECONDS_A_DAY));
        let day = day.map(|day| day.to_string()).unwrap_or_default();
        let name = format!("{}\u{1f}{}\u{1f}{day}", source.kind.as_str(), source.id.as_str());
        let digest = Sha256::digest(name.as_bytes());
        let key = i64::from_be_bytes(digest[..8].try_into().ok()?);
        Some(Self { key, seq: source.seq? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{FromJson, MAX_DEPTH, parse};
    use crate::memories::model::NewMemory;

    fn thread(rest: &str) -> Option<Thread> {
        let body = format!(r#"{{"content":"x","source":{rest}}}"#);
        let memory = NewMemory::from_json(&parse(body.as_bytes(), MAX_DEPTH).expect("JSON")).expect("a memory");
        Thread::of(&memory.fields)
    }

    #[test]
    fn one_source_on_one_day_is_one_thread() {
        let day = |hour: u8| {
            format!(r#"{{"type":"chat","id":"c","seq":{hour}}},"occurred_at":"1969-03-02T{hour:02}:00:00Z""#)
        };
        let (early, late) = (thread(&day(1)).expect("a thread"), thread(&day(23)).expect("a thread"));
        assert_eq!((early.key, early.seq, late.seq), (late.key, 1, 23));
        let next =
            thread(r#"{"type":"chat","id":"c","seq":2},"occurred_at":"1969-03-03T01:00:00Z""#).expect("a thread");
        let other = thread(r#"{"type":"chat","id":"d","seq":2}"#).expect("a thread");
        assert!(next.key != early.key && other.key != early.key);
        assert_eq!(thread(r#"{"type":"chat","id":"c"}"#), None, "nothing says where it stands");
    }
}
