//! At peak load all that is cached goes, then Redis: some may be told to come back, and soon it is as fast as before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::RngExt;
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use super::log::Log;
use super::scene::Scene;
use crate::harness::Client;
use crate::support::redis::Redis;

const CLIENTS: usize = 8;
const QUESTIONS: f64 = 100.0;
const MEMORIES: usize = 100;
const DEADLINE: Duration = Duration::from_millis(25);
const WINDOW: Duration = Duration::from_secs(1);
/// Of the hits that there were before.
const HITS_BACK_AT: f64 = 0.8;
const BACK_WITHIN: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    hits: AtomicU64,
    /// Told to come back: 429 or 503.
    shed: AtomicU64,
}

/// Asks as fast as it gets answers, some questions far more often than others.
async fn ask(instances: Vec<Client>, first: usize, counts: Arc<Counts>) {
    for turn in first.. {
        let rank = QUESTIONS.powf(rand::rng().random_range(0.0..1.0)) as u32;
        let request = instances[turn % instances.len()].request(Method::POST, "/v1/agents/ada/recall");
        let response = request.json(&json!({"query": format!("Where is stone {rank}?")})).send().await;
        let response = response.expect("an answer");
        let status = response.status().as_u16();
        let source = response.headers().get("cairn-cache").map_or(&[][..], |source| source.as_bytes());
        counts.hits.fetch_add(source.starts_with(b"hit").into(), Ordering::Relaxed);
        let text = response.text().await.expect("a whole answer");
        match status {
            200 => counts.answered.fetch_add(1, Ordering::Relaxed),
            429 | 503 => counts.shed.fetch_add(1, Ordering::Relaxed),
            _ => panic!("{status}: {text}"),
        };
    }
}

/// Answers a second, and which share of them were hits.
#[derive(Debug, Clone, Copy)]
struct Goodput {
    per_second: f64,
    hits: f64,
}

struct Peak {
    clients: JoinSet<()>,
    counts: Arc<Counts>,
}

impl Peak {
    fn start(instances: &[Client]) -> Self {
        let (counts, mut clients) = (Arc::<Counts>::default(), JoinSet::new());
        for first in 0..CLIENTS {
            clients.spawn(ask(instances.to_vec(), first, counts.clone()));
        }
        Self { clients, counts }
    }

    async fn goodput(&mut self, time: Duration) -> Goodput {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (answered, hits, began) = (count(&self.counts.answered), count(&self.counts.hits), Instant::now());
        tokio::time::sleep(time).await;
        if let Some(ended) = self.clients.try_join_next() {
            ended.expect("nothing but 200, 429 and 503");
        }
        let answered = (count(&self.counts.answered) - answered) as f64;
        let hits = (count(&self.counts.hits) - hits) as f64 / answered;
        Goodput { per_second: answered / began.elapsed().as_secs_f64(), hits }
    }

    /// Until it is this share of what it was; second by second.
    async fn wait_until_back(&mut self, rated: Goodput, share: f64) -> Vec<Goodput> {
        let (began, mut seen) = (Instant::now(), Vec::<Goodput>::new());
        let is_back =
            |now: &Goodput| now.per_second >= share * rated.per_second && now.hits >= HITS_BACK_AT * rated.hits;
        while !seen.last().is_some_and(is_back) {
            assert!(began.elapsed() < BACK_WITHIN, "{seen:?} of {rated:?}");
            seen.push(self.goodput(WINDOW).await);
        }
        seen
    }
}

async fn survives_loss(share: f64, log: Log) {
    let redis = Redis::start().await;
    let scene = Scene::with(redis.port(), "", DEADLINE, log).await;
    let memories: Vec<_> = (0..MEMORIES).map(|n| json!({"content": format!("Stone {n} lies at {n}.")})).collect();
    scene.tenant.post("/v1/agents/ada/remember/batch", json!({ "memories": memories })).await.expect(200);
    let mut peak = Peak::start(&scene.clients());
    // Until the questions have been asked.
    peak.goodput(2 * WINDOW).await;
    let rated = peak.goodput(2 * WINDOW).await;
    assert!(rated.hits > 0.5, "{rated:?}");

    redis.flush_all().await;
    scene.instances.iter().for_each(|instance| instance.app.app.cache.clear_local());
    let after_loss = peak.wait_until_back(rated, share).await;
    redis.kill();
    let without_redis = peak.wait_until_back(rated, share).await;
    let shed = peak.counts.shed.load(Ordering::Relaxed);
    println!("rated {rated:.2?}; after all was lost {after_loss:.2?}; without Redis {without_redis:.2?}; {shed} shed");
}

#[test]
fn losing_all_that_is_cached_and_then_redis_is_got_over() {
    // This machine has other things to do, and more at one time than at another.
    Log::of(async |log| survives_loss(0.5, log).await);
}

#[test]
#[ignore = "a minute, on a machine that does nothing else"]
fn four_fifths_of_the_peak_are_back_within_a_minute_of_losing_all() {
    Log::of(async |log| survives_loss(0.8, log).await);
}
