//! Recalls that are hardly ever the same.

use crate::cache::Kind;
use crate::insight::advice::history::{History, part};
use crate::insight::advice::{Advice, AdviceCode, Severity, numbers, percent};

/// Fewer recalls tell nothing.
const LOOKUPS: i64 = 1_000;
const HIT_RATE: f64 = 0.05;
/// Of misses, the share that had been answered before: from here on it is changes or lifetimes that cost the hits.
const LOST: f64 = 0.20;

/// Questions do not come back: what is kept of their answers is of no use.
pub fn low(history: &History) -> Option<Advice> {
    let recalls = history.of(Kind::Recall)?;
    let (lookups, hit_rate) = (recalls.lookups(), recalls.hit_rate());
    let changed: i64 = history.changed.iter().map(|scope| scope.entries).sum();
    let lost = part(recalls.local.stale + recalls.counts.unchanged_misses + changed, recalls.computed());
    if lookups < LOOKUPS || hit_rate >= HIT_RATE || lost >= LOST {
        return None;
    }
    Some(Advice {
        code: AdviceCode::LowReuse,
        severity: Severity::Hint,
        title: "Caching of recalls does not pay here".into(),
        reason: format!(
            "Of {lookups} recalls {} were hits, and hardly any miss was for an answer that had been there: the questions are new ones.",
            percent(hit_rate)
        ),
        numbers: numbers([("lookups", lookups as f64), ("hit_rate", hit_rate), ("lost_share", lost)]),
        setting: Some("cache.recall".into()),
        suggestion: "Send the same question in the same words where it is the same, and no more parameters than matter. Else cache.recall = false leaves the room to embeddings; it is for all tenants of the server.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insight::advice::history::ChangedHistory;
    use crate::insight::advice::history::tests::recalls;

    fn reused(hits: i64, misses: i64, stale: i64) -> History {
        recalls(|kind| (kind.local.hits, kind.local.misses, kind.local.stale) = (hits, misses, stale))
    }

    #[test]
    fn questions_that_never_come_back_are_not_worth_caching() {
        let advice = low(&reused(49, 951, 0)).expect("advice");
        assert_eq!((advice.code, advice.numbers["hit_rate"]), (AdviceCode::LowReuse, 0.049));
        assert_eq!(low(&reused(50, 950, 0)), None, "some do");
        assert_eq!(low(&reused(40, 959, 0)), None, "too early to say");
        assert_eq!(low(&reused(0, 800, 200)), None, "they do, and changes come between");
        let changed = vec![ChangedHistory { name: "agent ada".into(), changes: 50, entries: 200 }];
        assert_eq!(low(&History { changed, ..reused(0, 1_000, 0) }), None, "the same, seen earlier");
    }
}
