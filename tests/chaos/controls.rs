//! The checker is worth something: with any one guard of the caches off, the same runs find what it guards against.
//! Only in a build with the feature `sabotage`; `make chaos` does it.

use std::time::{Duration, Instant};

use crate::runs::{Run, Weather};
use crate::site::Cache;
use crate::support::redis::Redis;
use crate::workload::{Callers, Habit};

const LONGEST: Duration = Duration::from_secs(60);

async fn is_missed(guard: &'static str, weather: Weather, habit: Habit) {
    let started = Instant::now();
    let run = Run { callers: Callers { count: 32, seed: 4, habit }, lasts: LONGEST, weather, sabotage: Some(guard) };
    let report = run.on(Cache::Single(Redis::start().await)).await;
    println!("without {guard}, after {:.0} s: {report}", started.elapsed().as_secs_f64());
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

/// Slow searches have more callers that wait for them.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute; `make chaos`"]
async fn waiting_for_a_search_that_began_before_a_change_is_noticed() {
    is_missed("flight_stamp", Weather::SlowPostgres(Duration::from_millis(60)), Habit::Crowd).await;
}
