//! A local layer that is too small.

use crate::insight::advice::history::{History, part};
use crate::insight::advice::{Advice, AdviceCode, Severity, numbers, percent};

/// Lookups of what had just made room; fewer are noise.
const RETURNS: i64 = 100;
/// Of all lookups: each costs a call to Redis, or a computation where there is none.
const SHARE: f64 = 0.05;

pub fn too_small(history: &History) -> Option<Advice> {
    let returns: i64 = history.kinds.iter().map(|kind| kind.counts.evicted_returns).sum();
    let lookups: i64 = history.kinds.iter().map(|kind| kind.lookups()).sum();
    let (share, mb) = (part(returns, lookups), history.local_bytes / (1024 * 1024));
    if returns < RETURNS || share < SHARE {
        return None;
    }
    Some(Advice {
        code: AdviceCode::LocalLayerTooSmall,
        severity: Severity::Warning,
        title: "The local layer is too small".into(),
        reason: format!(
            "{returns} lookups, {} of all, were for entries that had made room for others within the hour before: they went to Redis, or were computed again.",
            percent(share)
        ),
        numbers: numbers([("evicted_returns", returns as f64), ("lookups", lookups as f64), ("share", share)]),
        setting: Some("cache.local_mb".into()),
        suggestion: format!("Try {} MB. The layer is shared by all tenants of the server.", (mb * 2).max(1)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insight::advice::history::tests::recalls;

    fn returning(returns: i64, lookups: i64) -> History {
        recalls(|kind| {
            kind.counts.evicted_returns = returns;
            kind.local.hits = lookups;
        })
    }

    #[test]
    fn looking_for_what_just_made_room_asks_for_more_of_it() {
        let advice = too_small(&returning(100, 2_000)).expect("advice");
        assert_eq!((advice.code, advice.numbers["share"]), (AdviceCode::LocalLayerTooSmall, 0.05));
        assert_eq!(too_small(&returning(99, 1_000)), None, "too few");
        assert_eq!(too_small(&returning(100, 2_001)), None, "too small a share");
    }
}
