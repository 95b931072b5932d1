//! Warm-ups that help nobody, and those that would.

use std::collections::BTreeMap;

use crate::cache::Kind;
use crate::insight::advice::history::{History, WarmupHistory, part};
use crate::insight::advice::{Advice, AdviceCode, Severity, numbers, percent};

/// Runs of a warm-up before it is judged.
const RUNS: usize = 3;
/// Of what it warms, the share that was warm already, from which on it comes too late or too often.
const ALREADY_WARM: f64 = 0.95;
/// What the hit rate of its targets has to gain.
const GAIN: f64 = 0.01;

/// A warm-up that finds nearly all warm, or after which its targets are hit no more often than before.
pub fn useless(history: &History) -> Option<Advice> {
    let mut warmups: BTreeMap<&str, Vec<&WarmupHistory>> = BTreeMap::new();
    for run in &history.warmups {
        warmups.entry(&run.name).or_default().push(run);
    }
    warmups.into_iter().filter(|(_, runs)| runs.len() >= RUNS).find_map(|(name, runs)| judged(name, &runs))
}

fn judged(name: &str, runs: &[&WarmupHistory]) -> Option<Advice> {
    let warmed: i64 = runs.iter().map(|run| run.warmed).sum();
    let already: i64 = runs.iter().map(|run| run.already_warm).sum();
    let gains = runs.iter().filter_map(|run| Some(run.hit_rate_after? - run.hit_rate_before?));
    let gains: Vec<f64> = gains.collect();
    let gain = (gains.len() >= RUNS).then(|| gains.iter().sum::<f64>() / gains.len() as f64);
    let warm = part(already, warmed + already);
    let reason = if warm >= ALREADY_WARM {
        format!("of what its {} runs came to, {} was warm already", runs.len(), percent(warm))
    } else if gain.is_some_and(|gain| gain < GAIN) {
        format!("{} entries were warmed, and their targets were hit no more often than before", warmed)
    } else {
        return None;
    };
    Some(Advice {
        code: AdviceCode::WarmupUseless,
        severity: Severity::Hint,
        title: format!("The warm-up {name:?} helps nobody"),
        reason: format!("In this window {reason}."),
        numbers: numbers([
            ("runs", runs.len() as f64),
            ("warmed", warmed as f64),
            ("already_warm_share", warm),
            ("hit_rate_gain", gain.unwrap_or(0.0)),
        ]),
        setting: None,
        suggestion: "Let it run less often or at another time, name other questions, or delete it.".into(),
    })
}

/// Hours in which a question has to come back, to be one that does.
const HOURS: i64 = 3;
/// Misses of such questions; fewer are not worth a job.
const MISSES: i64 = 20;
/// Of all recalls that were computed.
const MISSED_SHARE: f64 = 0.20;

/// The same questions come back after a while, hour after hour, and have to be computed anew each time.
pub fn worth_adding(history: &History) -> Option<Advice> {
    let computed = history.of(Kind::Recall)?.computed();
    let missed = |query: &&_| -> bool {
        let query: &crate::insight::advice::QueryHistory = query;
        query.hours >= HOURS && query.recalls - query.hits >= query.hours
    };
    let again: Vec<_> = history.queries.iter().filter(missed).collect();
    let misses: i64 = again.iter().map(|query| query.recalls - query.hits).sum();
    let share = part(misses, computed);
    if misses < MISSES || share < MISSED_SHARE {
        return None;
    }
    Some(Advice {
        code: AdviceCode::WarmupWorthAdding,
        severity: Severity::Hint,
        title: "A warm-up would make recalls hits".into(),
        reason: format!(
            "{} questions came back in {HOURS} or more different hours and missed in each: {misses} recalls, {} of those that had to be computed.",
            again.len(),
            percent(share.min(1.0))
        ),
        numbers: numbers([
            ("questions", again.len() as f64),
            ("misses", misses as f64),
            ("share", share.min(1.0)),
        ]),
        setting: None,
        suggestion: "Add a warm-up with top_queries (see POST /v1/warmups) that runs before they are asked; it needs the tenant's setting keep_queries, or name the questions.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insight::advice::history::QueryHistory;
    use crate::insight::advice::history::tests::recalls;

    fn runs(count: usize, warmed: i64, already_warm: i64, after: f64) -> History {
        let run = WarmupHistory {
            name: "morning".into(),
            warmed,
            already_warm,
            hit_rate_before: Some(0.5),
            hit_rate_after: Some(after),
        };
        History { warmups: vec![run; count], ..History::default() }
    }

    #[test]
    fn a_warm_up_that_warms_nothing_or_gains_nothing_is_named() {
        for history in [runs(3, 5, 95, 0.9), runs(3, 50, 50, 0.505)] {
            let advice = useless(&history).expect("advice");
            assert!(advice.code == AdviceCode::WarmupUseless && advice.title.contains("morning"), "{advice:?}");
        }
        assert_eq!(useless(&runs(2, 0, 100, 0.5)), None, "too early to say");
        assert_eq!(useless(&runs(3, 6, 94, 0.52)), None, "some were cold, and it helps");
        assert_eq!(useless(&runs(3, 50, 50, 0.52)), None, "it helps");
        let mut unknown = runs(3, 50, 50, 0.5);
        unknown.warmups[0].hit_rate_after = None;
        assert_eq!(useless(&unknown), None, "nobody knows yet");
    }

    fn asked(queries: &[(i64, i64, i64)], misses: i64) -> History {
        let query =
            |(recalls, hits, hours): &(i64, i64, i64)| QueryHistory { recalls: *recalls, hits: *hits, hours: *hours };
        History { queries: queries.iter().map(query).collect(), ..recalls(|kind| kind.local.misses = misses) }
    }

    #[test]
    fn questions_that_come_back_cold_hour_after_hour_ask_for_a_warm_up() {
        let advice = worth_adding(&asked(&[(30, 20, 10), (12, 2, 5), (90, 89, 20)], 100)).expect("advice");
        assert_eq!((advice.numbers["questions"], advice.numbers["misses"]), (2.0, 20.0));
        assert_eq!(worth_adding(&asked(&[(30, 11, 10)], 50)), None, "too few");
        assert_eq!(worth_adding(&asked(&[(30, 10, 10)], 101)), None, "most misses are of other questions");
        assert_eq!(worth_adding(&asked(&[(40, 0, 2)], 100)), None, "they came in one go");
        assert_eq!(worth_adding(&asked(&[(60, 30, 31)], 100)), None, "they stay warm from hour to hour");
    }
}
