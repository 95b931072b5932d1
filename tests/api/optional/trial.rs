//! What every state of Redis has in common: under a steady load no request fails and no answer is old, misses stay
//! about as fast as they were, Redis is left alone soon and found again soon, and the log has a line for each change.

use std::time::{Duration, Instant};

use super::load::{Load, percentile};
use super::log::Log;
use super::scene::Scene;

/// At ten calls a second.
const NOTICED_WITHIN: Duration = Duration::from_secs(2);
const HEALED_WITHIN: Duration = Duration::from_secs(30);
const PROBES_PER_SECOND: f64 = 2.0;

/// How long it goes on, and how much slower than a miss a recall may be.
#[derive(Clone, Copy)]
pub struct Form {
    pub deadline: Duration,
    hurt: Duration,
    allowance: Duration,
}

impl Form {
    /// For a machine that has other things to do.
    pub const FAST: Self = Self {
        deadline: Duration::from_millis(50),
        hurt: Duration::from_secs(3),
        allowance: Duration::from_millis(150),
    };
    /// As it is promised.
    pub const STRICT: Self = Self {
        deadline: Duration::from_millis(25),
        hurt: Duration::from_secs(20),
        allowance: Duration::from_millis(30),
    };
}

/// What is left alone while Redis is hurt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Loses {
    /// All calls to it.
    Calls,
    /// Those that store something; what it has is still read.
    Stores,
}

impl Loses {
    /// The label of the breaker, and the lines that say that it opens and closes.
    fn signs(self) -> (&'static str, [&'static str; 2]) {
        match self {
            Self::Calls => ("all", ["Redis fails", "Redis answers again"]),
            Self::Stores => ("stores", ["Redis keeps nothing new", "Redis keeps new entries again"]),
        }
    }
}

pub struct Trial<'a> {
    pub scene: &'a Scene,
    pub form: Form,
    /// Whose Redis is hurt.
    pub hurt: &'a [usize],
    pub loses: Loses,
}

impl Trial<'_> {
    /// `hurts` what works, or finds it hurt; `probes` counts what reaches Redis for an instance meanwhile.
    pub async fn run(
        &self,
        hurts: impl AsyncFnOnce(&mut Load),
        probes: impl AsyncFn(usize) -> u64,
        heals: impl AsyncFnOnce(),
    ) {
        let scene = self.scene;
        let mut load = Load::start(4, &scene.clients(), "use");
        hurts(&mut load).await;
        let began = Instant::now();
        load.take();
        // At the same time, as whatever else this machine does slows both down.
        let mut spared = Load::start(2, &[scene.tenant.at(scene.spared.url())], "refresh");
        let noticed = self.wait_until_noticed(began).await;
        let asked = self.count_probes(&probes).await;
        let (samples, misses) = (load.take(), spared.take());
        drop(spared);
        heals().await;
        let healed = scene.wait_for_hits(HEALED_WITHIN).await;
        load.take();
        drop(load);
        let changes = self.check_lines().await;
        let (p99, of_misses) = (percentile(&samples, 99), percentile(&misses, 99));
        println!(
            "{} recalls: p50 {:?}, p99 {p99:?}, max {:?}; misses without Redis: p50 {:?}, p99 {of_misses:?}; \
             noticed after {noticed:?}, at most {asked:.2} probes/s, hits {healed:?} after healing, {changes} changes",
            samples.len(),
            percentile(&samples, 50),
            percentile(&samples, 100),
            percentile(&misses, 50),
        );
        assert!(p99 <= of_misses + self.form.allowance, "{p99:?} while hurt, {of_misses:?} for a miss");
    }

    async fn wait_until_noticed(&self, began: Instant) -> Duration {
        let mut latest = Duration::ZERO;
        for index in self.hurt {
            latest = latest.max(self.scene.instances[*index].wait_until_noticed(began).await);
            let breaker = self.scene.instances[*index].statistics().await["breaker"].clone();
            assert_eq!(breaker == "closed", self.loses == Loses::Stores, "{breaker}");
        }
        assert!(latest < NOTICED_WITHIN, "{latest:?}");
        latest
    }

    /// The most probes a second of any instance; and that the others are not concerned.
    async fn count_probes(&self, probes: impl AsyncFn(usize) -> u64) -> f64 {
        // What was under way when it was noticed is no probe.
        tokio::time::sleep(2 * self.form.deadline).await;
        let (mut before, began) = (Vec::new(), Instant::now());
        for index in self.hurt {
            before.push(probes(*index).await);
        }
        tokio::time::sleep(self.form.hurt).await;
        let mut most = 0.0_f64;
        for (index, before) in self.hurt.iter().zip(before) {
            let (count, secs) = (probes(*index).await - before, began.elapsed().as_secs_f64());
            assert!(count > 0, "nobody looks whether Redis is back");
            assert!(count as f64 <= PROBES_PER_SECOND * secs + 1.0, "{count} probes in {secs} s");
            most = most.max(count as f64 / secs);
        }
        for (index, instance) in self.scene.instances.iter().enumerate() {
            assert_eq!(instance.readiness().await["ok"], !self.hurt.contains(&index));
        }
        most
    }

    /// One line for each change of a state, and no other word of Redis; how many changes there were.
    async fn check_lines(&self) -> usize {
        let (label, signs) = self.loses.signs();
        let mut changes = 0;
        for instance in &self.scene.instances {
            changes += instance.opened(label).await;
        }
        let log = &self.scene.log;
        assert!(changes >= self.hurt.len(), "{changes} changes of {} instances", self.hurt.len());
        assert_eq!(signs.map(|sign| log.with(sign).len()), [changes; 2], "{:#?}", of_redis(log));
        assert_eq!(of_redis(log).len(), 2 * changes, "{:#?}", of_redis(log));
        changes
    }
}

fn of_redis(log: &Log) -> Vec<String> {
    log.with("Redis")
}
