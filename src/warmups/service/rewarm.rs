//! Warming again: when a change makes an answer worthless that is asked for often, it is computed anew before somebody
//! asks. Rests on events, which may be lost: then the next to ask computes it, as always.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntCounterVec;
use rand::RngExt;

use crate::app::Ending;
use crate::auth::pass_inside;
use crate::cache::Warmth;
use crate::error::Result;
use crate::events::{Delivery, Event, Notice, Subscription};
use crate::recall::{self, Engine, HotRecall, HotRecalls};
use crate::telemetry::{Latencies, counters};
use crate::warmups::model::{Pace, Pressure};

/// Between a change and warming again: many changes in a row are one, and of many instances with one Redis the first
/// computes and the others find it done.
const SETTLES: std::ops::Range<u64> = 50..150;

/// Answers that wait to be computed; what comes beyond is computed by who asks.
const MOST_WAITING: usize = 1_000;

const PRINCIPAL: &str = "warming again";

/// Listens until the app ends.
pub fn start(engine: &Arc<Engine>, hot: Arc<HotRecalls>) -> anyhow::Result<()> {
    let app = &engine.app;
    let counted = counters(
        "cairn_rewarms_total",
        "Answers asked for often that a change made worthless, by what warming them again came to.",
        &["outcome"],
    )?;
    for outcome in ["warmed", "already", "failed", "unwanted"] {
        counted.with_label_values(&[outcome]);
    }
    app.metrics.register(Box::new(counted.clone()))?;
    if !app.config.warmups.rewarm {
        return Ok(());
    }
    let (heard, rewarming) = (app.bus.subscribe("rewarm"), engine.clone());
    app.accompany(|ending| Rewarming::new(rewarming, hot, counted).follow(heard, ending));
    Ok(())
}

struct Rewarming {
    engine: Arc<Engine>,
    hot: Arc<HotRecalls>,
    counted: IntCounterVec,
    /// What is to be computed, not before when.
    waiting: VecDeque<(Instant, Arc<HotRecall>)>,
    pace: Pace,
    /// Until when the pace has it rest.
    rests_until: Instant,
    latencies: Latencies,
}

impl Rewarming {
    fn new(engine: Arc<Engine>, hot: Arc<HotRecalls>, counted: IntCounterVec) -> Self {
        let pace = Pace::of(engine.app.config.warmups.rewarms_per_second, None);
        let latencies = engine.app.metrics.latencies();
        let (waiting, rests_until) = (VecDeque::new(), Instant::now());
        Self { engine, hot, counted, waiting, pace, rests_until, latencies }
    }

    async fn follow(mut self, mut heard: Subscription, mut ending: Ending) {
        loop {
            let due = self.waiting.front().map(|(due, _)| (*due).max(self.rests_until));
            tokio::select! {
                delivery = heard.next() => match delivery {
                    Some(Delivery::Notice(notice)) => self.hear(&notice),
                    Some(Delivery::Lagged(_)) => {}
                    None => return,
                },
                () = until(due) => self.work().await,
                _ = ending.within(Duration::MAX) => return,
            }
        }
    }

    /// Whoever flushes wants answers gone.
    fn hear(&mut self, notice: &Notice) {
        if matches!(notice.event, Event::CacheFlushed { .. } | Event::TenantErased) {
            return;
        }
        let settles = Duration::from_millis(rand::rng().random_range(SETTLES));
        let room = MOST_WAITING.saturating_sub(self.waiting.len());
        let due = Instant::now() + settles;
        self.waiting.extend(self.hot.take(&notice.scopes).into_iter().take(room).map(|recall| (due, recall)));
    }

    async fn work(&mut self) {
        let Some((_, recall)) = self.waiting.pop_front() else { return };
        let outcome = match self.warm(&recall).await {
            Ok(Some(Warmth::Warmed)) => "warmed",
            Ok(Some(Warmth::Already)) => "already",
            Ok(None) => "unwanted",
            Ok(Some(Warmth::Impossible)) | Err(_) => "failed",
        };
        self.counted.with_label_values(&[outcome]).inc();
        let p99 = self.latencies.advance(self.engine.app.metrics.latencies());
        self.pace.heed(Pressure { p99, pushed_back: outcome == "failed" });
        self.rests_until = Instant::now() + self.pace.pause();
    }

    /// None: the tenant does not want it.
    async fn warm(&self, hot: &HotRecall) -> Result<Option<Warmth>> {
        let caller = pass_inside(&self.engine.app, hot.tenant, &hot.place, PRINCIPAL).await?;
        if !caller.rewarm {
            return Ok(None);
        }
        let warmed = recall::warm(self.engine.clone(), &caller, hot.request.clone()).await?;
        Ok(Some(warmed.warmth))
    }
}

/// For ever, where there is nothing to wait for.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
