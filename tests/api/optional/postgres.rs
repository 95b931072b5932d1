//! Without Postgres nobody knows whether an answer still holds: however warm the caches are, nobody is given one.

use std::time::{Duration, Instant};

use cairn::config::Config;
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::harness::{Answer, Client, Cluster, TestApp};
use crate::support::fault::{FaultProxy, Target};
use crate::support::process::{free_port, wait};
use crate::support::redis::Redis;

const REFUSED_WITHIN: Duration = Duration::from_secs(2);
const BACK_WITHIN: Duration = Duration::from_secs(10);

async fn recall(client: &Client) -> Answer {
    client.post("/v1/agents/ada/recall", json!({"query": "kettle"})).await
}

/// Until the answer comes from this layer.
async fn warm(client: &Client, layer: &str) {
    let source = format!("hit; layer={layer}");
    wait(&source, async || recall(client).await.header("cairn-cache").starts_with(&source)).await;
}

/// Every recall is refused, soon and for the right reason.
async fn is_refused(client: &Client) -> Duration {
    let (until, mut slowest) = (Instant::now() + Duration::from_secs(4), Duration::ZERO);
    while Instant::now() < until {
        let asked = Instant::now();
        recall(client).await.assert_problem(503, "dependency_unavailable");
        slowest = slowest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(slowest < REFUSED_WITHIN, "{slowest:?}");
    slowest
}

#[tokio::test(flavor = "multi_thread")]
async fn warm_caches_answer_nothing_while_postgres_is_gone() {
    let (cluster, redis) = (Cluster::own().await, Redis::start().await);
    let settings = |config: &mut Config| {
        config.cache.redis_url = Some(redis.url());
        // A busy test machine may be slow, and what was computed here is not asked of Redis again.
        config.cache.redis_deadline_ms = 1_000;
    };
    let by_socket = TestApp::start_on(cluster.clone(), settings).await;
    let tenant = by_socket.new_tenant().await;
    // Where Postgres is on another machine, its port refuses when it is gone.
    let (port, target) = (free_port(), Target::Socket(cluster.socket()));
    let listening = FaultProxy::start_at(port, target.clone()).await;
    let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port).ssl_mode(PgSslMode::Disable);
    let options = options.username("postgres").database(&by_socket.database.name);
    let by_port = by_socket.sibling_through(options, settings).await;
    let clients = [tenant.client.clone(), tenant.client.at(by_port.url())];
    tenant.remember("ada", "The kettle is broken.").await;
    warm(&clients[0], "local").await;
    warm(&clients[1], "redis").await;

    drop(listening);
    cluster.kill();
    let slowest = tokio::join!(is_refused(&clients[0]), is_refused(&clients[1]));
    for app in [&by_socket, &by_port] {
        assert_eq!(app.stranger().get("/livez").await.status, 200);
        let ready = app.stranger().get("/readyz").await.expect(503);
        assert_eq!((&ready["database"]["ok"], &ready["redis"]["ok"]), (&json!(false), &json!(true)), "{ready}");
    }

    cluster.restart().await;
    let _listening = FaultProxy::start_at(port, target).await;
    let back = Instant::now();
    for client in &clients {
        wait("Postgres is found again", async || recall(client).await.status == 200).await;
        assert!(back.elapsed() < BACK_WITHIN, "{:?}", back.elapsed());
        assert_eq!(recall(client).await.expect(200)["results"][0]["memory"]["content"], "The kettle is broken.");
    }
    println!("refused within {slowest:?}, back after {:?}", back.elapsed());
}
