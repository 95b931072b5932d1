//! Entries that are kept for too short a time, or too long.

use crate::insight::advice::history::{History, KindHistory, part};
use crate::insight::advice::{Advice, AdviceCode, Severity, numbers, percent};

/// Fewer such misses are noise.
const UNCHANGED_MISSES: i64 = 50;
/// Of all that is computed; below this a longer life would hardly be felt.
const UNCHANGED_SHARE: f64 = 0.10;

/// Many misses on entries that had expired, though nothing had changed: they would have been hits.
pub fn too_short(history: &History) -> Option<Advice> {
    let worst = history.kinds.iter().max_by_key(|kind| kind.counts.unchanged_misses)?;
    let (unchanged, computed) = (worst.counts.unchanged_misses, worst.computed());
    let share = part(unchanged, computed);
    if unchanged < UNCHANGED_MISSES || share < UNCHANGED_SHARE {
        return None;
    }
    let (name, ttl) = (worst.kind.name(), worst.ttl_secs);
    Some(Advice {
        code: AdviceCode::TtlTooShort,
        severity: Severity::Warning,
        title: format!("Entries of the kind {name} expire too early"),
        reason: format!(
            "{unchanged} lookups, {} of all that had to be computed, were for entries that had expired after about {ttl} s and would still have been right.",
            percent(share)
        ),
        numbers: numbers([
            ("unchanged_misses", unchanged as f64),
            ("computed", computed as f64),
            ("share", share),
            ("ttl_secs", ttl as f64),
        ]),
        setting: Some(worst.ttl_setting()),
        suggestion: format!(
            "Try {} s. Answers stay right however old they are; a longer life takes memory only.",
            ttl * 2
        ),
    })
}

/// Entries that no hit came to, of those that went; fewer tell nothing.
const REMOVED: i64 = 100;
const UNUSED_REMOVED: f64 = 0.80;
/// Of the bytes held, and of the room there is: where there is room to spare, nobody minds.
const UNUSED_BYTES: f64 = 0.50;
const ROOM_TAKEN: f64 = 0.25;

/// Most of what is held is never hit, and takes room that others may need.
pub fn too_long(history: &History) -> Option<Advice> {
    let worst = history.kinds.iter().max_by_key(|kind| kind.counts.unused_bytes)?;
    let (counts, samples) = (&worst.counts, worst.counts.samples.max(1));
    let unused_share = part(counts.unused_bytes, counts.held_bytes);
    let unused_removed = part(counts.removed_unused, counts.removed);
    let taken = part(counts.unused_bytes / samples, history.local_bytes as i64);
    let fires = counts.removed >= REMOVED
        && unused_removed >= UNUSED_REMOVED
        && unused_share >= UNUSED_BYTES
        && taken >= ROOM_TAKEN;
    fires.then(|| advice_of_too_long(worst, unused_share, unused_removed, taken))
}

fn advice_of_too_long(worst: &KindHistory, unused_share: f64, unused_removed: f64, taken: f64) -> Advice {
    let name = worst.kind.name();
    Advice {
        code: AdviceCode::TtlTooLong,
        severity: Severity::Hint,
        title: format!("Entries of the kind {name} are kept longer than they are used"),
        reason: format!(
            "{} of the bytes held were of entries that no hit has come to, {} of the local layer; of entries that went, {} had never been hit.",
            percent(unused_share),
            percent(taken),
            percent(unused_removed)
        ),
        numbers: numbers([
            ("unused_share_of_bytes", unused_share),
            ("unused_share_of_removed", unused_removed),
            ("share_of_local_layer", taken),
            ("ttl_secs", worst.ttl_secs as f64),
        ]),
        setting: Some(worst.ttl_setting()),
        suggestion: format!(
            "Try {} s: what is hit again is hit soon, and the room goes to what is.",
            worst.ttl_secs / 2
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insight::advice::history::tests::recalls;

    fn expiring(unchanged: i64, misses: i64) -> History {
        recalls(|kind| {
            kind.counts.unchanged_misses = unchanged;
            kind.local.misses = misses;
        })
    }

    #[test]
    fn many_misses_on_what_would_still_hold_ask_for_a_longer_life() {
        let advice = too_short(&expiring(50, 500)).expect("advice");
        assert_eq!((advice.code, advice.setting.as_deref()), (AdviceCode::TtlTooShort, Some("cache.recall_ttl_secs")));
        assert!(advice.suggestion.contains("600 s"), "{advice:?}");
        assert_eq!(too_short(&expiring(49, 100)), None, "too few");
        assert_eq!(too_short(&expiring(50, 501)), None, "too small a share");
    }

    fn held(removed_unused: i64, held_bytes: i64, unused_bytes: i64) -> History {
        recalls(|kind| {
            let samples = 10;
            kind.counts.samples = samples;
            (kind.counts.held_bytes, kind.counts.unused_bytes) = (held_bytes * samples, unused_bytes * samples);
            (kind.counts.removed, kind.counts.removed_unused) = (100, removed_unused);
        })
    }

    #[test]
    fn room_taken_by_what_is_never_hit_asks_for_a_shorter_life() {
        let advice = too_long(&held(80, 500_000, 250_000)).expect("advice");
        assert_eq!((advice.code, advice.numbers["share_of_local_layer"]), (AdviceCode::TtlTooLong, 0.25));
        assert!(advice.suggestion.contains("150 s"), "{advice:?}");
        assert_eq!(too_long(&held(79, 500_000, 250_000)), None, "some were of use");
        assert_eq!(too_long(&held(80, 500_001, 250_000)), None, "most of what is held is used");
        assert_eq!(too_long(&held(80, 400_000, 249_000)), None, "there is room to spare");
    }
}
