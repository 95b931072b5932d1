//! Flushing, by kind, agent, circle and as a whole; it holds at once, everywhere, with Redis or without.

use serde_json::{Value, json};

use super::{Pair, ask, circle, kettle, source};

/// What the other server answers from, for ada and for bob.
async fn sources(pair: &Pair) -> [String; 2] {
    let other = pair.other();
    [source(&ask(&other, "ada", kettle()).await), source(&ask(&other, "bob", kettle()).await)]
}

async fn flush(pair: &Pair, what: Value) -> Value {
    pair.tenant.post("/v1/cache/flush", what).await.expect(200)
}

async fn prepared() -> Pair {
    let pair = Pair::start().await;
    pair.tenant.remember("ada", "The kettle is in the kitchen.").await;
    pair.tenant.remember("bob", "The hammer is in the shed.").await;
    circle(&pair.here, &pair.tenant, "garden", &["bob"]).await;
    pair
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_reaches_what_it_names_and_nothing_else() {
    let pair = prepared().await;
    for redis_is_up in [true, false] {
        if !redis_is_up {
            pair.redis.kill();
        }
        let cases = [
            (
                json!({"agent_id": "ada"}),
                [false, true],
                json!({"kinds": ["recall", "circle"], "scopes": 1, "new_secret": false}),
            ),
            (
                json!({"kinds": ["circle"], "agent_id": "ada"}),
                [true, true],
                json!({"kinds": ["circle"], "scopes": 0, "new_secret": false}),
            ),
            (
                json!({"circle_id": "garden"}),
                [true, false],
                json!({"kinds": ["recall", "circle"], "scopes": 2, "new_secret": false}),
            ),
            (
                json!({"kinds": ["recall"], "circle_id": "garden"}),
                [true, false],
                json!({"kinds": ["recall"], "scopes": 1, "new_secret": false}),
            ),
            (
                json!({"kinds": ["circle"], "circle_id": "garden"}),
                [true, true],
                json!({"kinds": ["circle"], "scopes": 1, "new_secret": false}),
            ),
            (
                json!({"kinds": ["recall"]}),
                [false, false],
                json!({"kinds": ["recall"], "scopes": 1, "new_secret": false}),
            ),
            (
                json!({"kinds": ["embedding"]}),
                [false, false],
                json!({"kinds": ["embedding"], "scopes": 0, "new_secret": true}),
            ),
            (
                json!({}),
                [false, false],
                json!({"kinds": ["embedding", "recall", "circle"], "scopes": 1, "new_secret": true}),
            ),
        ];
        for (what, kept, receipt) in cases {
            sources(&pair).await;
            let warm = sources(&pair).await;
            assert!(warm.iter().all(|source| source.starts_with("hit")), "{warm:?}");
            assert_eq!(flush(&pair, what.clone()).await, receipt, "{what}");
            let hit = sources(&pair).await.map(|source| source.starts_with("hit"));
            assert_eq!(hit, kept, "{what}, Redis up: {redis_is_up}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_makes_no_sense_is_refused_and_flushes_nothing() {
    let pair = prepared().await;
    sources(&pair).await;
    let refused = [
        (json!({"kinds": []}), 422, "field_empty"),
        (json!({"kinds": null}), 422, "invalid_type"),
        (json!({"kinds": ["spoons"]}), 422, "invalid_value"),
        (json!({"kinds": ["embedding"], "agent_id": "ada"}), 422, "invalid_value"),
        (json!({"agent_id": "no spaces"}), 422, "invalid_id"),
        (json!({"everything": true}), 422, "unknown_field"),
        (json!({"agent_id": "nobody"}), 404, "not_found"),
        (json!({"circle_id": "nowhere"}), 404, "not_found"),
        (json!({"agent_id": "ada", "circle_id": "nowhere"}), 404, "not_found"),
    ];
    for (what, status, code) in refused {
        pair.tenant.post("/v1/cache/flush", what).await.assert_problem(status, code);
    }
    let ada = pair.here.client(pair.tenant.id, "all", Some("ada")).await;
    let of = |what: Value| ada.post("/v1/cache/flush", what);
    of(json!({})).await.assert_problem(403, "insufficient_scope");
    of(json!({"agent_id": "bob"})).await.assert_problem(403, "agent_mismatch");
    of(json!({"circle_id": "garden"})).await.assert_problem(404, "not_found");
    assert!(sources(&pair).await.iter().all(|source| source.starts_with("hit")));
    of(json!({"agent_id": "ada"})).await.expect(200);
    assert_eq!(sources(&pair).await.map(|source| source.starts_with("hit")), [false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_sent_twice_flushes_once() {
    let pair = prepared().await;
    let send = async || {
        let request = pair.tenant.request(reqwest::Method::POST, "/v1/cache/flush").header("idempotency-key", "f1");
        pair.tenant.send(request.json(&json!({"agent_id": "ada"}))).await
    };
    let first = send().await.expect(200);
    sources(&pair).await;
    let again = send().await;
    assert_eq!((again.expect(200), again.header("idempotency-replayed")), (first, "true"));
    assert!(sources(&pair).await[0].starts_with("hit"), "the replay flushed nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn flushing_everything_empties_redis_of_the_tenant_alone() {
    let pair = prepared().await;
    let neighbour = pair.here.new_tenant().await;
    neighbour.remember("ada", "The kettle is in the kitchen.").await;
    ask(&neighbour, "ada", kettle()).await;
    sources(&pair).await;
    pair.wait_for_keys("rag:", 2).await;
    flush(&pair, json!({})).await;
    pair.wait_for_keys("", 0).await;
    assert!(source(&ask(&neighbour, "ada", kettle()).await).starts_with("hit"));
    let pattern = format!("cairn:{}:*", neighbour.id);
    let others: Vec<String> = pair.redis.ask(deadpool_redis::redis::cmd("KEYS").arg(pattern)).await.expect("keys");
    assert!(others.len() >= 3, "{others:?}");
}
