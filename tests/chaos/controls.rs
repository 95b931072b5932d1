//! The checker is worth something: with any one guard off, the same runs find what it guards against.
//! Only in a build with the feature `sabotage`; `make chaos` does it.

use std::time::{Duration, Instant};

use crate::report::Report;
use crate::runs::{Run, Weather};
use crate::site::Cache;
use crate::support::authority::Call;
use crate::support::redis::Redis;
use crate::workload::{Callers, Habit};

const LONGEST: Duration = Duration::from_secs(60);

/// What a run without this guard came to.
async fn without(guard: &'static str, weather: Weather, habit: Habit, members: usize) -> Report {
    let started = Instant::now();
    let callers = Callers { count: 32, seed: 4, habit };
    let run = Run { callers, members, lasts: LONGEST, weather, sabotage: Some(guard) };
    let report = run.on(Cache::Single(Redis::start().await)).await;
    println!("without {guard}, after {:.0} s: {report}", started.elapsed().as_secs_f64());
    report
}

async fn is_missed(guard: &'static str, weather: Weather, habit: Habit) {
    let report = without(guard, weather, habit, 0).await;
    assert!(report.verdict.is_stale(), "nobody notices that {guard} is off: {report}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute; `make chaos`"]
async fn entries_taken_without_a_look_at_their_stamps_are_noticed() {
    is_missed("stamp_check", Weather::Faults { tempo: 0.5 }, Habit::Mixed).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute; `make chaos`"]
async fn a_write_that_leaves_the_stamps_as_they_are_is_noticed() {
    is_missed("forget_bump", Weather::Faults { tempo: 0.5 }, Habit::Mixed).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute; `make chaos`"]
async fn memory_searched_without_a_look_at_its_tags_is_noticed() {
    is_missed("index_tag", Weather::Faults { tempo: 0.5 }, Habit::Mixed).await;
}

/// Slow searches have more callers that wait for them.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute; `make chaos`"]
async fn waiting_for_a_search_that_began_before_a_change_is_noticed() {
    is_missed("flight_stamp", Weather::SlowPostgres(Duration::from_millis(60)), Habit::Crowd).await;
}

/// Leaks, and nothing else: a write asks Postgres who is in, whatever was known before. Only one that was done already
/// is answered again; it leaves no second trace.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute; `make chaos`"]
async fn members_taken_from_what_was_once_known_are_noticed() {
    let report = without("membership", Weather::Faults { tempo: 0.5 }, Habit::Mixed, 9).await;
    let circle = report.circle.as_ref().expect("a circle");
    assert!(!circle.verdict.leaked.is_empty(), "nobody notices that members are not looked up: {report}");
    let accepted: Vec<&Call> = circle.verdict.accepted.iter().filter(|call| call.what != "repeat a write").collect();
    assert!(accepted.is_empty() && circle.traces.is_empty(), "writes do not look either: {accepted:?} {report}");
    assert!(report.verdict.violations.is_empty(), "something else is wrong: {report}");
}
