//! Runs of the harness: a site under load and faults, and what the checker says of it.

use std::sync::Arc;
use std::time::Duration;

use crate::checker;
use crate::circle::{Circle, Outcome};
use crate::faults::Faults;
use crate::history::{History, Layer};
use crate::report::Report;
use crate::site::{Cache, Site};
use crate::support::fault::Fault;
use crate::support::redis::Redis;
use crate::support::redis_cluster::RedisCluster;
use crate::workload::{self, Callers, Habit};

/// Of the form that runs with all tests.
const FAST: Run = Run {
    callers: Callers { count: 16, seed: 4, habit: Habit::Mixed },
    members: 0,
    lasts: Duration::from_secs(25),
    weather: Weather::Faults { tempo: 0.4 },
    sabotage: None,
};

pub struct Run {
    pub callers: Callers,
    /// Of a circle with three owners that is there beside; none: it is not there.
    pub members: usize,
    pub lasts: Duration,
    pub weather: Weather,
    /// The guard that the servers do without; then the first stale answer, or plenty of leaks, ends the run.
    pub sabotage: Option<&'static str>,
}

/// What goes wrong meanwhile.
pub enum Weather {
    Faults {
        tempo: f64,
    },
    /// Nothing, but it all takes long.
    SlowPostgres(Duration),
}

impl Run {
    pub async fn on(&self, cache: Cache) -> Report {
        let Callers { count, seed, .. } = self.callers;
        println!("seed {seed}, {count} callers, at most {} s", self.lasts.as_secs());
        let sabotage = self.sabotage.map(|guard| ("CAIRN_SABOTAGE", guard));
        let site = Site::start(cache, sabotage.as_slice()).await;
        let history = Arc::new(History::new());
        let circle = match self.members {
            0 => None,
            members => Some(Circle::start(&site, &history, members, seed).await),
        };
        let over = async {
            tokio::select! {
                () = self.weather(&site, &history) => {}
                () = first_failure(&history, circle.as_ref()), if self.sabotage.is_some() => {}
            }
        };
        workload::run(&site, &history, &self.callers, over).await;
        let circle = match circle {
            Some(circle) => Some(circle.end().await),
            None => None,
        };
        let (events, windows) = (history.events(), history.windows());
        let verdict = checker::check(&events, &windows);
        Report { events, windows, verdict, deadlocks: site.deadlocks(), circle }
    }

    async fn weather(&self, site: &Site, history: &History) {
        match self.weather {
            Weather::Faults { tempo } => Faults::new(site, history, self.callers.seed, tempo).inject(self.lasts).await,
            Weather::SlowPostgres(latency) => {
                site.instances.iter().for_each(|instance| instance.postgres.set(Fault::Latency(latency)));
                tokio::time::sleep(self.lasts).await;
            }
        }
    }

    /// Runs, shows what came of it, and fails unless it was flawless.
    async fn is_flawless(&self, cache: Cache) {
        let report = self.on(cache).await;
        println!("{report}");
        assert!(report.verdict.violations.is_empty() && report.deadlocks == 0, "{report}");
        assert!(report.verdict.pairs > 20 * self.lasts.as_secs() as usize, "there was load: {report}");
        // A crowd asks what has just changed.
        let hits = [Layer::Local, Layer::Redis].map(|layer| report.reads(layer));
        assert!(
            self.callers.habit == Habit::Crowd || !hits.contains(&0),
            "a run without hits proves nothing: {report}"
        );
        report.circle.iter().for_each(|circle| self.is_flawless_in(circle));
    }

    /// Fails as well if there was too little to judge.
    fn is_flawless_in(&self, circle: &Outcome) {
        assert!(circle.is_flawless(), "{circle}");
        let (verdict, seconds) = (&circle.verdict, self.lasts.as_secs() as usize);
        let was_judged = verdict.removals > seconds / 2 && verdict.reads > seconds && verdict.writes > seconds / 4;
        assert!(was_judged && verdict.hits > seconds / 10, "there was load, and warm caches: {circle}");
    }
}

async fn first_failure(history: &History, circle: Option<&Circle>) {
    while !checker::check(&history.events(), &history.windows()).is_stale() && !circle.is_some_and(Circle::leaks_plenty)
    {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_is_seen_everywhere_whatever_breaks() {
    FAST.is_flawless(Cache::Single(Redis::start().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_is_seen_everywhere_whatever_breaks_in_a_cluster() {
    FAST.is_flawless(Cache::Cluster(RedisCluster::start().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_in_a_crowd_gets_what_was_searched_for_before_a_change() {
    let run = Run {
        callers: Callers { count: 16, seed: 4, habit: Habit::Crowd },
        members: 0,
        lasts: Duration::from_secs(8),
        weather: Weather::SlowPostgres(Duration::from_millis(60)),
        sabotage: None,
    };
    run.is_flawless(Cache::Single(Redis::start().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; `make chaos`"]
async fn no_schedule_of_faults_makes_an_answer_stale() {
    let number =
        |name: &str, default: u64| std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"));
    let run = Run {
        callers: Callers { count: 32, seed: number("CAIRN_CHAOS_SEED", rand::random()), habit: Habit::Mixed },
        members: 9,
        lasts: Duration::from_secs(number("CAIRN_CHAOS_MINUTES", 10) * 60 / 2),
        weather: Weather::Faults { tempo: 1.0 },
        sabotage: None,
    };
    run.is_flawless(Cache::Single(Redis::start().await)).await;
    run.is_flawless(Cache::Cluster(RedisCluster::start().await)).await;
}
