//! What instances counted is what their clients did.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Pair, ask_often, sums};
use crate::harness::{Cluster, TestApp};
use crate::support::redis::Redis;

#[tokio::test(flavor = "multi_thread")]
async fn what_two_instances_did_is_added_up_and_nothing_is_lost_at_an_orderly_end() {
    let pair = Pair::start().await;
    let other = pair.other();
    pair.tenant.remember("ada", "The kettle is in the kitchen.").await;
    ask_often(&pair.tenant, "ada", "where is the kettle", 5).await;
    pair.wait_for_keys("rag:", 1).await;
    pair.wait_for_keys("emb:", 2).await;
    ask_often(&other, "ada", "where is the kettle", 3).await;
    ask_often(&other, "ada", "what is in the attic", 2).await;
    pair.here.app.close().await;
    pair.there.app.close().await;

    let mut superuser = pair.here.database.superuser().await;
    let layers = "usage_layers";
    let of =
        |kind: &str, layer: &str| format!("(SELECT * FROM {layers} WHERE kind = '{kind}' AND layer = '{layer}') l");
    let counts = "hits misses stale errors";
    let local = sums(&mut superuser, &pair.tenant, &of("recall", "local"), counts).await;
    assert_eq!(local, json!({"hits": 4 + 2 + 1, "misses": 1 + 1 + 1, "stale": 0, "errors": 0}));
    let redis = sums(&mut superuser, &pair.tenant, &of("recall", "redis"), counts).await;
    assert_eq!(redis, json!({"hits": 1, "misses": 2, "stale": 0, "errors": 0}));
    let spent = sums(&mut superuser, &pair.tenant, "usage_kinds", "spent_calls spent_tokens").await;
    // A memory of 29 bytes, questions of 19 and 20; texts carry no date here.
    assert_eq!(spent["spent_calls"], 3, "{spent}");
    assert!(spent["spent_tokens"].as_i64() >= Some(8 + 5 + 5), "{spent}");
    let recalls = sums(&mut superuser, &pair.tenant, "usage_agents", "recalls hits").await;
    assert_eq!(recalls, json!({"recalls": 10, "hits": 8}));

    // Whoever starts afterwards knows all of it.
    let reader = pair.here.sibling().await;
    let stats = pair.tenant.at(reader.url()).get("/v1/agents/ada/stats").await.expect(200);
    assert_eq!((&stats["recalls"], &stats["hit_rate"]), (&json!(10), &json!(0.8)));
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_goes_on_while_redis_is_away() {
    let redis = Redis::start().await;
    let url = redis.url();
    let app = TestApp::start_on(Cluster::shared().await, |config| {
        config.cache.redis_url = Some(url);
        config.usage.write_secs = 1;
    })
    .await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is in the kitchen.").await;
    redis.kill();
    ask_often(&tenant, "ada", "where is the kettle", 4).await;
    // Written beside the requests, while the server goes on.
    for _ in 0..200 {
        let stats = tenant.get("/v1/agents/ada/stats").await.expect(200);
        if stats["recalls"] == 4 {
            assert_eq!(stats["hit_rate"], 0.75);
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not written");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_kept_for_the_next_time() {
    let app = TestApp::start_with(|config| config.usage.write_secs = 1).await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is in the kitchen.").await;
    super::run(&app, "ALTER TABLE usage_agents RENAME TO elsewhere").await;
    ask_often(&tenant, "ada", "where is the kettle", 4).await;
    // Long enough for several attempts.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    super::run(&app, "ALTER TABLE elsewhere RENAME TO usage_agents").await;
    ask_often(&tenant, "ada", "where is the kettle", 1).await;
    app.app.close().await;
    let mut superuser = app.database.superuser().await;
    let recalls = sums(&mut superuser, &tenant, "usage_agents", "recalls hits").await;
    assert_eq!(recalls, json!({"recalls": 5, "hits": 4}));
    let lookups = sums(&mut superuser, &tenant, "(SELECT * FROM usage_layers WHERE kind = 'recall') l", "hits misses");
    assert_eq!(lookups.await, json!({"hits": 4, "misses": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_where_counting_is_off() {
    let app = TestApp::start_with(|config| config.usage.enabled = false).await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is in the kitchen.").await;
    ask_often(&tenant, "ada", "where is the kettle", 2).await;
    app.app.close().await;
    let mut superuser = app.database.superuser().await;
    for (table, column) in [("usage_layers", "hits"), ("usage_agents", "recalls"), ("usage_kinds", "spent_calls")] {
        let found: Value = sums(&mut superuser, &tenant, table, column).await;
        assert_eq!(found, json!({ column: 0 }), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_counted_once_and_the_time_to_the_next_hit_with_them() {
    let pair = Pair::start().await;
    let other = pair.other();
    pair.tenant.remember("ada", "The kettle is in the kitchen.").await;
    for client in [&pair.tenant.client, &other] {
        ask_often(client, "ada", "where is the kettle", 2).await;
    }
    let entries = async |client: &crate::harness::Client| {
        client.get("/v1/cache/stats").await.expect(200)["kinds"][1]["layers"][0]["entries"].clone()
    };
    pair.tenant.remember("ada", "The other kettle is in the attic.").await;
    for client in [&pair.tenant.client, &other] {
        while entries(client).await != 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    ask_often(&pair.tenant, "ada", "where is the kettle", 2).await;
    for app in [&pair.here, &pair.there] {
        app.app.close().await;
    }
    let mut superuser = pair.here.database.superuser().await;
    let changed = sums(&mut superuser, &pair.tenant, "usage_scopes", "changes entries").await;
    assert_eq!(changed, json!({"changes": 2, "entries": 2}), "two memories; one entry on each instance");
    let again = "again_100ms again_1s again_10s again_1m again_10m again_later";
    let again = sums(&mut superuser, &pair.tenant, "(SELECT * FROM usage_kinds WHERE kind = 'recall') k", again).await;
    let all: i64 = again.as_object().expect("sums").values().filter_map(Value::as_i64).sum();
    assert_eq!(all, 1, "{again}");
}
