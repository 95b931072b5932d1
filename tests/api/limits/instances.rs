//! Several instances share every limit: exactly while there is Redis, and about so while there is none (P31).

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Client, Cluster, TestApp};
use crate::limits::{limited, send};
use crate::support::redis::Redis;

const LIMIT: f64 = 100.0;
const SECONDS: f64 = 4.0;

/// Floods all servers at once for a while; how many requests a second were let through, and how many were refused.
async fn flood(clients: &[Client]) -> (f64, usize) {
    let begin = Instant::now();
    let callers = clients.iter().flat_map(|client| std::iter::repeat_n(client, 2)).map(|client| async move {
        let (mut admitted, mut refused) = (0, 0);
        while begin.elapsed().as_secs_f64() < SECONDS {
            for answer in send(client, 5).await {
                assert!([200, 429].contains(&answer.status), "{}", answer.text);
                *(if answer.status == 200 { &mut admitted } else { &mut refused }) += 1;
            }
        }
        (admitted, refused)
    });
    let counts = join_all(callers).await;
    let admitted: usize = counts.iter().map(|(admitted, _)| admitted).sum();
    (admitted as f64 / begin.elapsed().as_secs_f64(), counts.iter().map(|(_, refused)| refused).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_instances_keep_one_limit_with_redis_and_about_so_without() {
    let redis = Redis::start().await;
    let settings = |config: &mut cairn::config::Config| {
        config.cache.redis_url = Some(redis.url());
        // A deadline is for production; a busy test machine may be slow.
        config.cache.redis_deadline_ms = 1_000;
        config.database.gate_connections = 2;
    };
    let first = TestApp::start_on(Cluster::shared().await, settings).await;
    let second = first.sibling_through(first.database.options(), settings).await;
    let third = first.sibling_through(first.database.options(), settings).await;
    let tenant = limited(&first, json!({"requests_per_second": LIMIT as u64})).await;
    let clients: Vec<Client> = [&first, &second, &third].map(|app| tenant.at(app.url())).into();
    // All have told Redis that they are there, and each has heard of the others.
    tokio::time::sleep(cairn::rates::BEAT + Duration::from_millis(500)).await;
    // What nobody used before is there at once: it is not what is measured.
    flood(&clients[..1]).await;

    let (with, refused) = flood(&clients).await;
    assert!((0.9 * LIMIT..=1.1 * LIMIT).contains(&with), "with Redis {with}/s, {refused} refused");
    redis.kill();
    // The first calls find out that it is gone.
    send(&clients[0], 10).await;
    let (without, refused) = flood(&clients).await;
    println!("limit {LIMIT}/s, three instances: {with:.1}/s with Redis, {without:.1}/s without, {refused} refused");
    assert!(without <= 1.5 * LIMIT, "without Redis {without}/s");
    assert!(without >= 0.5 * LIMIT, "without Redis {without}/s");
    redis.restart().await;
    // Probes find it within two seconds.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (again, refused) = flood(&clients).await;
    assert!((0.9 * LIMIT..=1.3 * LIMIT).contains(&again), "with Redis again {again}/s, {refused} refused");
}
