//! Statistics count what happened, by tenant, kind and layer, and can be set back.

use serde_json::{Value, json};

use super::{Pair, ask, kettle};
use crate::harness::Client;

async fn stats(client: &Client) -> Value {
    client.get("/v1/cache/stats").await.expect(200)
}

fn layer(stats: &Value, kind: usize, layer: usize) -> &Value {
    &stats["kinds"][kind]["layers"][layer]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_lookup_is_counted_where_it_was_answered() {
    let pair = Pair::start_with(|config| {
        config.embeddings.model = Some("hashed".into());
        config.embeddings.prices = [("hashed".to_owned(), 1_000_000.0)].into();
    })
    .await;
    let other = pair.other();
    pair.tenant.remember("ada", "The kettle is in the kitchen.").await;
    ask(&pair.tenant, "ada", kettle()).await;
    ask(&pair.tenant, "ada", kettle()).await;
    pair.wait_for_keys("rag:", 1).await;
    pair.wait_for_keys("emb:", 2).await;
    ask(&other, "ada", kettle()).await;
    ask(&other, "ada", kettle()).await;
    // One that changed meanwhile, in Redis and here; its question is embedded already.
    for app in [&pair.here, &pair.there] {
        app.app.bus.close();
    }
    pair.tenant.remember("ada", "The other kettle is in the attic.").await;
    ask(&other, "ada", kettle()).await;

    let here = stats(&pair.tenant).await;
    assert_eq!(here["kinds"].as_array().map(Vec::len), Some(3));
    let counts = |layer: &Value| ["hits", "misses", "stale"].map(|name| layer[name].as_u64().expect("a count"));
    assert_eq!(here["kinds"][1]["kind"], "recall");
    assert_eq!(counts(layer(&here, 1, 0)), [1, 1, 0], "{here}");
    assert_eq!(counts(layer(&here, 1, 1)), [0, 1, 0], "{here}");
    assert_eq!(here["kinds"][1]["hit_rate"], 0.5);
    let there = stats(&other).await;
    assert_eq!(counts(layer(&there, 1, 0)), [1, 1, 1], "{there}");
    assert_eq!(counts(layer(&there, 1, 1)), [1, 0, 1], "{there}");
    assert_eq!(there["redis"]["breaker"], "closed");

    // The question came from Redis: a call to the provider saved, of 20 bytes or 5 tokens.
    assert_eq!(counts(layer(&there, 0, 1)), [1, 0, 0], "{there}");
    let saved = &there["kinds"][0]["saved"];
    assert_eq!((&saved["embedding_calls"], &saved["embedding_tokens"]), (&json!(1), &json!(5)), "{there}");
    assert_eq!(saved["money"], 5.0);
    assert_eq!(layer(&here, 0, 0)["entries"], 3, "{here}");
    assert!(layer(&here, 0, 0)["bytes"].as_u64() > Some(3 * 768), "{here}");
    assert_eq!(layer(&here, 0, 1)["entries"], Value::Null);

    // Another tenant knows nothing of it.
    let neighbour = pair.here.new_tenant().await;
    assert_eq!(stats(&neighbour).await["kinds"][1]["hit_rate"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_heard_by_every_instance_and_leaves_the_entries() {
    let pair = Pair::start().await;
    let other = pair.other();
    pair.tenant.remember("ada", "The kettle is in the kitchen.").await;
    for client in [&pair.tenant.client, &other] {
        ask(client, "ada", kettle()).await;
        ask(client, "ada", kettle()).await;
    }
    let before = stats(&other).await;
    let reset = pair.tenant.post("/v1/cache/stats/reset", json!({})).await;
    assert_eq!(layer(&reset.expect(200), 1, 0)["hits"], 0);
    for _ in 0..200 {
        let after = stats(&other).await;
        if layer(&after, 1, 0)["hits"] == 0 {
            assert!(after["since"].as_str() > before["since"].as_str());
            assert_eq!(layer(&after, 1, 0)["entries"], layer(&before, 1, 0)["entries"]);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the other instance heard nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_sees_no_tenants_unless_told_to() {
    for by_tenant in [false, true] {
        let pair = Pair::start_with(|config| config.cache.tenant_metrics = by_tenant).await;
        pair.tenant.remember("ada", "The kettle is in the kitchen.").await;
        ask(&pair.tenant, "ada", kettle()).await;
        ask(&pair.tenant, "ada", kettle()).await;
        let metrics = pair.here.stranger().get("/metrics").await.text;
        let hit = metrics.lines().find(|line| {
            line.starts_with("cairn_cache_events_total{event=\"hit\",kind=\"recall\",layer=\"local\"")
                && line.ends_with(" 1")
        });
        assert!(hit.is_some_and(|line| line.contains(&pair.tenant.id.to_string()) == by_tenant), "{metrics}");
        for name in [
            "cairn_cache_saved_seconds_total",
            "cairn_cache_entries",
            "cairn_cache_bytes",
            "cairn_events_total",
            "cairn_redis_calls_total",
        ] {
            assert!(metrics.contains(name), "no {name}");
        }
    }
}
