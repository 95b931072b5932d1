//! Runs of the harness: a site under load and faults, and what the checker says of it.

use std::sync::Arc;
use std::time::Duration;

use crate::checker;
use crate::faults::Faults;
use crate::history::{History, Layer};
use crate::report::Report;
use crate::site::{Cache, Site};
use crate::support::redis::Redis;
use crate::support::redis_cluster::RedisCluster;
use crate::workload;

/// Of the form that runs with all tests.
const SEED: u64 = 4;

const FAST: Duration = Duration::from_secs(20);

struct Run {
    callers: usize,
    seed: u64,
    lasts: Duration,
}

impl Run {
    async fn on(&self, cache: Cache) -> Report {
        let site = Site::start(cache, &[]).await;
        let history = Arc::new(History::new());
        let faults = Faults::new(&site, &history, self.seed).inject(self.lasts);
        workload::run(&site, &history, self.callers, self.seed, faults).await;
        let (events, windows) = (history.events(), history.windows());
        let verdict = checker::check(&events, &windows);
        Report { events, windows, verdict, deadlocks: site.deadlocks() }
    }

    /// Runs, shows what came of it, and fails unless it was flawless.
    async fn is_flawless(&self, cache: Cache) -> Report {
        println!("seed {}, {} callers, {} s", self.seed, self.callers, self.lasts.as_secs());
        let report = self.on(cache).await;
        println!("{report}");
        assert!(report.verdict.violations.is_empty() && report.deadlocks == 0, "{report}");
        assert!(report.verdict.pairs > 20 * self.lasts.as_secs() as usize, "there was load: {report}");
        report
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_is_seen_everywhere_whatever_breaks() {
    let run = Run { callers: 12, seed: SEED, lasts: FAST };
    run.is_flawless(Cache::Single(Redis::start().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_is_seen_everywhere_whatever_breaks_in_a_cluster() {
    let run = Run { callers: 12, seed: SEED, lasts: FAST };
    run.is_flawless(Cache::Cluster(RedisCluster::start().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; `make chaos`"]
async fn no_schedule_of_faults_makes_an_answer_stale() {
    let number =
        |name: &str, default: u64| std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"));
    let lasts = Duration::from_secs(number("CAIRN_CHAOS_MINUTES", 10) * 60 / 2);
    let run = Run { callers: 32, seed: number("CAIRN_CHAOS_SEED", rand::random()), lasts };
    for cache in [Cache::Single(Redis::start().await), Cache::Cluster(RedisCluster::start().await)] {
        let report = run.is_flawless(cache).await;
        let hits = report.reads(Layer::Local) + report.reads(Layer::Redis);
        assert!(hits > report.reads(Layer::None) / 10, "a run without hits proves nothing: {report}");
    }
}
