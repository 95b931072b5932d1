//! What another tenant has embedded cannot be found out, not even by how long an answer takes.

use std::time::{Duration, Instant};

use cairn::cache::Owner;
use futures_util::StreamExt;
use rand::seq::SliceRandom;

use super::owner;
use crate::harness::TestApp;
use crate::harness::provider::{Act, Provider};
use crate::support::redis::Redis;

const TEXTS: usize = 300;
/// By how much a call to the provider is slower than what is cached.
const PROVIDER_TAKES: Duration = Duration::from_millis(4);
/// Equal times come out this far apart, or further, once in a hundred times; three times in a row, once in a million.
const LOOKS_THE_SAME: f64 = 0.01;
const ATTEMPTS: usize = 3;
const LOOKS_DIFFERENT: f64 = 1e-6;

/// The text of this number; a word makes it another set of texts.
fn text(set: &str, number: usize) -> String {
    format!("{set} stone {number}")
}

async fn embed(app: &TestApp, owner: &Owner, text: &str) -> Duration {
    let began = Instant::now();
    app.app.embedder.embed_query(owner, text).await.expect("a vector");
    began.elapsed()
}

async fn embed_all(app: &TestApp, owner: &Owner, set: &str) {
    let all =
        futures_util::stream::iter(0..TEXTS).map(|number| async move { embed(app, owner, &text(set, number)).await });
    all.buffer_unordered(8).for_each(async |_| {}).await;
}

/// In one random order, how long each text of the two sets takes.
async fn compare(app: &TestApp, owner: &Owner, sets: [&str; 2]) -> [Vec<Duration>; 2] {
    let mut order: Vec<(usize, usize)> = (0..TEXTS).flat_map(|number| [(0, number), (1, number)]).collect();
    order.shuffle(&mut rand::rng());
    let mut times = [Vec::new(), Vec::new()];
    for (set, number) in order {
        times[set].push(embed(app, owner, &text(sets[set], number)).await);
    }
    times
}

/// How likely two samples of one distribution differ as much as these: the two-sample Kolmogorov-Smirnov test, with
/// Stephens' approximation of its tail (Press et al., Numerical Recipes, 3rd edition, section 14.3).
fn likeness([one, other]: &[Vec<Duration>; 2]) -> f64 {
    let share_below =
        |times: &[Duration], time| times.iter().filter(|other| **other <= time).count() as f64 / times.len() as f64;
    let distances = one.iter().chain(other).map(|time| (share_below(one, *time) - share_below(other, *time)).abs());
    let distance = distances.fold(0.0, f64::max);
    let effective = (one.len() * other.len()) as f64 / (one.len() + other.len()) as f64;
    let lambda = (effective.sqrt() + 0.12 + 0.11 / effective.sqrt()) * distance;
    if lambda < 0.2 {
        // The series converges too slowly to be of use, to a number next to 1.
        return 1.0;
    }
    let term = |j: i32| f64::from(1 - 2 * ((j - 1) % 2)) * (-2.0 * f64::from(j * j) * lambda * lambda).exp();
    (2.0 * (1..=100).map(term).sum::<f64>()).clamp(0.0, 1.0)
}

#[test]
fn the_test_tells_equal_times_from_others() {
    let times = |from: u64, to: u64| (from..to).map(Duration::from_micros).collect::<Vec<_>>();
    assert_eq!(likeness(&[times(0, 300), times(0, 300)]), 1.0);
    assert!(likeness(&[times(0, 300), times(300, 600)]) < 1e-60);
    // As tables have it: with 300 each, a distance of 0.133 is the one time in a hundred.
    let distance = likeness(&[times(0, 300), times(40, 340)]);
    assert!((0.005..0.015).contains(&distance), "{distance}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_by_timing_what_another_tenant_has_embedded() {
    let (provider, redis) = (Provider::start().await, Redis::start().await);
    let app = TestApp::start_with(|config| {
        provider.configure(config, 64);
        config.cache.redis_url = Some(redis.url());
        config.embeddings.query_deadline_ms = 20_000;
    })
    .await;
    provider.on("", &[Act::Delay(PROVIDER_TAKES)]);
    let victim = owner(&app, &app.new_tenant().await).await;
    embed_all(&app, &victim, "known").await;

    let (mut likenesses, mut calls) = (Vec::new(), Vec::new());
    for attempt in 0..ATTEMPTS {
        // Each time somebody who has not asked before.
        let curious = owner(&app, &app.new_tenant().await).await;
        let (before, fresh) = (provider.calls("stone").len(), format!("fresh{attempt}"));
        likenesses.push(likeness(&compare(&app, &curious, ["known", &fresh]).await));
        calls.push(provider.calls("stone").len() - before);
        if likenesses.last().is_some_and(|likeness| *likeness > LOOKS_THE_SAME) {
            break;
        }
    }
    // What one has asked oneself is faster, and the test would see it.
    let own = likeness(&compare(&app, &victim, ["known", "new"]).await);
    println!("another's texts against fresh ones: {likenesses:?}; one's own against fresh ones: {own:e}");
    assert!(likenesses.last().is_some_and(|likeness| *likeness > LOOKS_THE_SAME), "{likenesses:?}");
    assert!(own < LOOKS_DIFFERENT, "{own:e}");
    assert!(calls.iter().all(|calls| *calls == 2 * TEXTS), "the provider is asked for every text: {calls:?}");
}
