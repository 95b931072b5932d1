//! One scope whose changes cost everyone their cached answers.

use crate::cache::Kind;
use crate::insight::advice::history::{History, part};
use crate::insight::advice::{Advice, AdviceCode, Severity, numbers, percent};

/// Entries that its changes made worthless; fewer are noise.
const ENTRIES: i64 = 100;
/// Of all that changes made worthless: below this it is not one scope that does it.
const SHARE: f64 = 0.50;
/// Entries lost, of all lookups: below this nobody feels it.
const FELT: f64 = 0.10;

pub fn many(history: &History) -> Option<Advice> {
    let worst = history.changed.iter().max_by_key(|scope| scope.entries)?;
    let all: i64 = history.changed.iter().map(|scope| scope.entries).sum();
    let lookups: i64 = [Kind::Recall, Kind::Circle].iter().filter_map(|kind| Some(history.of(*kind)?.lookups())).sum();
    let (share, felt) = (part(worst.entries, all), part(worst.entries, lookups));
    if worst.entries < ENTRIES || share < SHARE || felt < FELT {
        return None;
    }
    let (name, changes, entries) = (&worst.name, worst.changes, worst.entries);
    Some(Advice {
        code: AdviceCode::ManyInvalidations,
        severity: Severity::Warning,
        title: format!("Changes to {name} make many cached answers worthless"),
        reason: format!(
            "{changes} changes to {name} made {entries} cached entries worthless: {} of all that changes did, one for every {:.0} lookups.",
            percent(share),
            1.0 / felt
        ),
        numbers: numbers([
            ("changes", changes as f64),
            ("entries", entries as f64),
            ("share", share),
            ("entries_a_lookup", felt),
        ]),
        setting: None,
        suggestion: "Write several memories at once (remember/batch is one change), keep what changes all the time in an agent or a circle of its own, or recall with `within` where it need not be searched.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insight::advice::history::ChangedHistory;
    use crate::insight::advice::history::tests::recalls;

    fn changed(entries: &[i64], lookups: i64) -> History {
        let scope = |(number, entries): (usize, &i64)| ChangedHistory {
            name: format!("agent a{number}"),
            changes: 10,
            entries: *entries,
        };
        let changed = entries.iter().enumerate().map(scope).collect();
        History { changed, ..recalls(|kind| kind.local.hits = lookups) }
    }

    #[test]
    fn one_scope_that_costs_most_answers_is_named() {
        let advice = many(&changed(&[40, 100, 60], 1_000)).expect("advice");
        assert_eq!(advice.code, AdviceCode::ManyInvalidations);
        assert!(advice.title.contains("agent a1"), "{advice:?}");
        assert_eq!(many(&changed(&[99], 900)), None, "too few");
        assert_eq!(many(&changed(&[100, 60, 60], 1_000)), None, "not one alone");
        assert_eq!(many(&changed(&[100], 1_001)), None, "hardly felt");
    }
}
