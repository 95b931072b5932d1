//! Contexts come from the cache when they may, say so, and nobody can slip another in.

use std::time::Duration;

use deadpool_redis::redis::cmd;
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::{context, create_task};
use crate::caches::{Pair, source};
use crate::circles::circle_of;
use crate::harness::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn a_context_comes_from_the_nearest_cache_byte_for_byte() {
    let pair = Pair::start().await;
    circle_of(&pair.tenant, "c", &[("ada", "owner"), ("bob", "reader")]).await;
    create_task(&pair.tenant, json!({"title": "The copper kettle leaks."})).await;
    let first = context(&pair.tenant.acting_as("ada"), "c").await;
    assert_eq!(source(&first), "miss");
    let keys = pair.wait_for_keys("circle:", 1).await;
    assert_eq!(keys, [format!("cairn:{}:circle:c:ctx", pair.tenant.id)]);
    let (here, there) = (&pair.tenant, pair.other());
    for (client, expected) in [
        (here.acting_as("bob"), "hit local"),
        (there.acting_as("bob"), "hit redis"),
        (there.clone(), "hit local"),
        (here.client.clone(), "hit local"),
    ] {
        let again = context(&client, "c").await;
        assert_eq!((source(&again).as_str(), &again.text), (expected, &first.text), "the same for whoever asks");
        assert_eq!(again.header("content-type"), first.header("content-type"));
        let stages = again.header("server-timing");
        assert!(["gate", "cache", "search", "total"].iter().all(|stage| stages.contains(stage)), "{stages}");
    }
    let ttl: i64 = pair.redis.ask(cmd("PTTL").arg(&keys[0])).await.expect("a time");
    assert!((530_000..=660_000).contains(&ttl), "{ttl} ms");
    let held: Vec<u8> = pair.redis.ask(cmd("GET").arg(&keys[0])).await.expect("a value");
    assert!(!String::from_utf8_lossy(&held).contains("copper"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_chooses_what_becomes_of_the_cache() {
    let pair = Pair::start().await;
    circle_of(&pair.tenant, "c", &[("ada", "owner")]).await;
    let with = async |query: &str| {
        let answer = pair.tenant.get(&format!("/v1/circles/c/context{query}")).await;
        (answer.status, source(&answer), answer.text)
    };
    assert_eq!(with("?cache=bypass").await.1, "bypass");
    let (_, first, before) = with("?cache=use").await;
    assert_eq!(first, "miss", "bypass stored nothing");
    let (_, again, same) = with("").await;
    assert_eq!((again.as_str(), same), ("hit local", before.clone()));
    let (_, refreshed, after) = with("?cache=refresh").await;
    assert_eq!(refreshed, "miss");
    assert_ne!(before, after, "as of another moment");
    assert_eq!(with("").await.2, after);
    for (query, code, pointer) in [
        ("?cache=always", "invalid_value", "/cache"),
        ("?cache=", "invalid_value", "/cache"),
        ("?cache=use&cache=use", "duplicate_item", "/cache"),
        ("?limit=1", "unknown_field", "/limit"),
    ] {
        let problem = pair.tenant.get(&format!("/v1/circles/c/context{query}")).await.assert_problem(422, code);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flushing_the_context_of_one_circle_leaves_the_others_and_the_recalls() {
    let pair = Pair::start().await;
    for circle in ["c", "d"] {
        circle_of(&pair.tenant, circle, &[("ada", "owner")]).await;
    }
    let question = json!({"query": "kettle"});
    let other = pair.other();
    let sources = async || {
        let recalled = other.post("/v1/circles/c/recall", question.clone()).await;
        let (c, d) = (context(&other, "c").await, context(&other, "d").await);
        [source(&c), source(&d), source(&recalled)].map(|source| source.starts_with("hit"))
    };
    for (what, hit) in [
        (json!({"kinds": ["circle"], "circle_id": "c"}), [false, true, true]),
        (json!({"kinds": ["recall"], "circle_id": "c"}), [false, true, false]),
        (json!({"kinds": ["recall", "circle"], "circle_id": "d"}), [true, false, true]),
    ] {
        sources().await;
        assert_eq!(sources().await, [true; 3]);
        pair.tenant.post("/v1/cache/flush", what.clone()).await.expect(200);
        assert_eq!(sources().await, hit, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_under_the_name_of_another_context_is_never_an_answer() {
    let pair = Pair::start().await;
    for circle in ["c", "d"] {
        circle_of(&pair.tenant, circle, &[("ada", "owner")]).await;
        context(&pair.tenant, circle).await;
    }
    let name = |circle: &str| format!("cairn:{}:circle:{circle}:ctx", pair.tenant.id);
    pair.wait_for_keys("circle:", 2).await;
    let own: Vec<u8> = pair.redis.ask(cmd("GET").arg(name("c"))).await.expect("a value");
    let foreign: Vec<u8> = pair.redis.ask(cmd("GET").arg(name("d"))).await.expect("a value");
    for forged in [foreign, own[..own.len() - 1].to_vec(), b"{}".to_vec()] {
        let () = pair.redis.ask(cmd("SET").arg(name("c")).arg(forged)).await.expect("set");
        let app = pair.here.sibling_through(pair.here.database.options(), |config| {
            config.cache.redis_url = Some(pair.redis.url());
            config.cache.redis_deadline_ms = 1_000;
        });
        let answer = context(&pair.tenant.at(app.await.url()), "c").await;
        assert_eq!((source(&answer).as_str(), &answer.json()["circle"]["id"]), ("miss", &json!("c")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_is_wrong_would_be_noticed() {
    let app = TestApp::start_with(|config| config.cache.verify_one_in = 1).await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "owner")]).await;
    create_task(&tenant, json!({"title": "Tea"})).await;
    let mismatches = async || {
        let metrics = app.stranger().get("/metrics").await.text;
        let line = metrics.lines().find_map(|line| line.strip_prefix("cairn_cache_mismatch_total "));
        line.and_then(|count| count.parse::<u64>().ok()).expect("a number")
    };
    for _ in 0..5 {
        context(&tenant, "c").await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(mismatches().await, 0, "another moment is no difference");

    // Somebody goes behind the server's back.
    let sql = format!(
        "SET session_replication_role = replica; UPDATE tasks SET title = 'Not tea' WHERE tenant_id = '{}'",
        tenant.id
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut app.database.superuser().await).await.expect("corrupted");
    for _ in 0..100 {
        assert!(source(&context(&tenant, "c").await).starts_with("hit"));
        tokio::time::sleep(Duration::from_millis(50)).await;
        if mismatches().await > 0 {
            return;
        }
    }
    panic!("nobody noticed");
}
