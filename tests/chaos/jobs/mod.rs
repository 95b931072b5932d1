//! Jobs under faults: instances are killed and stopped while a job is due every second, and each believes another time.
//! Postgres keeps the book of what they did.

mod book;
mod faults;
mod site;

use std::time::Duration;

use book::Verdict;
use faults::Tally;
use site::Site;

/// What a run came to.
struct Outcome {
    verdict: Verdict,
    tally: Tally,
}

/// Lets the job be due every second for so long; `flaw` is done to the schema first.
async fn run(lasts: Duration, flaw: &str) -> Outcome {
    let site = Site::start(flaw).await;
    site.begin().await;
    let feeding = site.feed();
    let tally = faults::inject(&site, lasts).await;
    drop(feeding);
    site.end().await;
    Outcome { verdict: Verdict::read(&site).await, tally }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "jobs: {}; {}", self.verdict, self.tally)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; `make chaos`"]
async fn each_due_time_has_one_effect_whatever_breaks() {
    let minutes = std::env::var("CAIRN_CHAOS_MINUTES").ok().map_or(10, |minutes| minutes.parse().expect("a number"));
    let outcome = run(Duration::from_secs(minutes * 60), "").await;
    println!("{outcome}");
    let Verdict { due, once, doubles, missing, thawed, too_late, taken_over, .. } = outcome.verdict;
    assert_eq!((once, doubles, missing, thawed, too_late), (due, 0, 0, 0, 0), "{outcome}");
    assert!(outcome.tally.kills > 0 && outcome.tally.stops > 0, "{outcome}");
    // A fault hits a run in its middle every minute or two.
    assert!(taken_over > 0 || minutes < 5, "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute; `make chaos`"]
async fn without_the_fence_what_a_thawed_worker_commits_is_noticed() {
    let outcome = run(Duration::from_secs(75), book::NO_FENCE).await;
    println!("without the fence: {outcome}");
    assert!(outcome.verdict.thawed > 0, "nobody notices: {outcome}");
}
