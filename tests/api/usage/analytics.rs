//! `GET /v1/cache/analytics`: the same for whoever answers, and of others' business nothing for an agent.

use serde_json::{Value, json};

use super::{Pair, ask_often, run};
use crate::circles::circle_of;
use crate::harness::{Client, TestApp};

async fn analytics(client: &Client, query: &str) -> Value {
    client.get(&format!("/v1/cache/analytics{query}")).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_adds_up_what_all_instances_did() {
    let pair = Pair::start_with(|config| {
        config.embeddings.model = Some("hashed".into());
        config.embeddings.prices = [("hashed".to_owned(), 1_000_000.0)].into();
    })
    .await;
    let other = pair.other();
    pair.tenant.remember("ada", "The kettle is in the kitchen.").await;
    ask_often(&pair.tenant, "ada", "where is the kettle", 5).await;
    pair.wait_for_keys("rag:", 1).await;
    pair.wait_for_keys("emb:", 2).await;
    ask_often(&other, "ada", "where is the kettle", 3).await;
    ask_often(&other, "bob-asks-nothing", "x", 0).await;
    let reader = pair.here.sibling().await;
    pair.here.app.close().await;
    pair.there.app.close().await;

    let found = analytics(&pair.tenant.at(reader.url()), "?window=1h&step=1m").await;
    let recall = &found["kinds"][1];
    assert_eq!((&recall["kind"], &recall["totals"]["hit_rate"]), (&json!("recall"), &json!(0.875)), "{found}");
    let layers = &recall["totals"]["layers"];
    let counts = |layer: &Value| ["hits", "misses", "stale"].map(|name| layer[name].as_i64().expect("a count"));
    assert_eq!((counts(&layers[0]), counts(&layers[1])), ([6, 2, 0], [1, 1, 0]), "{layers}");
    let points = recall["points"].as_array().expect("points");
    let sum: i64 = points.iter().map(|point| counts(&point["layers"][0])[0]).sum();
    assert!(sum == 6 && (1..=3).contains(&points.len()), "{points:?}");
    assert_eq!(found["top_agents"][0], json!({"agent_id": "ada", "recalls": 8, "hit_rate": 0.875}));
    let top = &found["top_queries"][0];
    assert_eq!((&top["agent_id"], &top["recalls"], &top["request"]), (&json!("ada"), &json!(8), &Value::Null));
    assert_eq!(found["invalidations"][0]["agent_id"], "ada");
    assert_eq!((&found["step_secs"], &found["advice"]), (&json!(60), &json!([])), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_step_says_that_it_is_not_over() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let id = tenant.id;
    run(
        &app,
        &format!(
            "INSERT INTO usage_layers (tenant_id, grain, at, kind, layer, hits, misses, stale, evictions, expirations, errors)
             SELECT '{id}', 'minute', minute, 'recall', 'local', 3, 1, 0, 0, 0, 0
               FROM generate_series(date_trunc('minute', now()) - interval '3 hours', now(), '1 minute') minute"
        ),
    )
    .await;
    let found = analytics(&tenant, "?window=2h&step=1h").await;
    let points = found["kinds"][1]["points"].as_array().expect("points").clone();
    let partial: Vec<&Value> = points.iter().map(|point| &point["partial"]).collect();
    assert_eq!(partial, [false, false, true], "{points:?}");
    let hits: Vec<&Value> = points.iter().map(|point| &point["layers"][0]["hits"]).collect();
    assert_eq!(hits[..2], [180, 180]);
    assert!(hits[2].as_i64() <= Some(180) && hits[2].as_i64() >= Some(3), "{hits:?}");
    assert_eq!(points[0]["begins"], found["from"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_and_steps_out_of_bounds_are_refused_by_name() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let refused = [
        ("?window=31d", "/window"),
        ("?window=day", "/window"),
        ("?window=0m", "/window"),
        ("?step=30s", "/step"),
        ("?step=0m", "/step"),
        ("?window=24h&step=25h", "/step"),
        ("?window=2d&step=1m", "/step"),
        ("?window=8d&step=90m", "/step"),
        ("?window=99999999999999999999d", "/window"),
    ];
    for (query, pointer) in refused {
        let answer = tenant.get(&format!("/v1/cache/analytics{query}")).await;
        let problem = answer.assert_problem(422, "invalid_value");
        let error = &problem["errors"][0];
        assert_eq!(
            (&error["pointer"], &error["code"]),
            (&json!(pointer), &json!("invalid_value")),
            "{query} {problem}"
        );
    }
    for query in ["", "?window=30d", "?window=30d&step=1h", "?window=2000m&step=1m", "?window=7d&step=6m", "?step=1d"] {
        analytics(&tenant, query).await;
    }
    app.client(tenant.id, "cache:manage", None)
        .await
        .get("/v1/cache/analytics")
        .await
        .assert_problem(403, "insufficient_scope");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_acts_as_an_agent_learns_nothing_of_others() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "kitchen", &[("ada", "owner"), ("bob", "editor")]).await;
    circle_of(&tenant, "attic", &[("bob", "owner")]).await;
    tenant.patch("/v1/tenant", json!({"keep_queries": true})).await.expect(200);
    let instance = app.sibling().await;
    let client = tenant.at(instance.url());
    for (agent, question) in [("ada", "where is ada's kettle"), ("bob", "where is bob's secret")] {
        client.remember(agent, &format!("something of {agent}")).await;
        ask_often(&client, agent, question, 3).await;
    }
    client
        .acting_as("bob")
        .post("/v1/circles/kitchen/recall", json!({"query": "bob's other secret"}))
        .await
        .expect(200);
    client.patch("/v1/circles/attic", json!({"name": "Attic"})).await.expect(200);
    instance.app.close().await;

    let all = analytics(&tenant, "").await;
    assert_eq!(all["top_queries"].as_array().map(Vec::len), Some(3), "{all}");
    assert_eq!(
        all["top_queries"][0]["request"]["query"].as_str().map(|query| query.starts_with("where is")),
        Some(true)
    );
    assert_eq!(all["top_agents"].as_array().map(Vec::len), Some(2), "{all}");
    let bound = app.client(tenant.id, "cache:read", Some("ada")).await;
    for acting in [tenant.acting_as("ada"), bound] {
        let own = analytics(&acting, "").await;
        assert_eq!(own["top_queries"].as_array().map(Vec::len), Some(1), "{own}");
        assert_eq!(own["top_queries"][0]["request"]["query"], "where is ada's kettle");
        assert_eq!(own["top_agents"], json!([{"agent_id": "ada", "recalls": 3, "hit_rate": 2.0 / 3.0}]));
        let text = own.to_string();
        assert!(!text.contains("bob") && !text.contains("attic"), "{text}");
        assert_eq!(own["kinds"][1]["totals"], all["kinds"][1]["totals"], "sums are of all");
    }
    let stranger = analytics(&tenant.acting_as("nobody"), "").await;
    assert_eq!((&stranger["top_queries"], &stranger["top_agents"]), (&json!([]), &json!([])));
    let neighbour = app.new_tenant().await;
    let neighbour = analytics(&neighbour, "").await;
    assert_eq!((&neighbour["top_queries"], &neighbour["top_agents"]), (&json!([]), &json!([])));
    assert_eq!(neighbour["kinds"][1]["totals"]["hit_rate"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_expire_unchanged_lead_to_advice() {
    let app = TestApp::start_with(|config| config.cache.recall_ttl_secs = 1).await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is in the kitchen.").await;
    for round in 0..3 {
        for question in 0..25 {
            ask_often(&tenant, "ada", &format!("question {question}"), 1).await;
        }
        if round < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
        }
    }
    let reader = app.sibling().await;
    app.app.close().await;
    let found = analytics(&tenant.at(reader.url()), "").await;
    let advice = &found["advice"][0];
    assert_eq!(
        (&advice["code"], &advice["setting"]),
        (&json!("ttl_too_short"), &json!("cache.recall_ttl_secs")),
        "{found}"
    );
    assert!(advice["numbers"]["unchanged_misses"].as_f64() >= Some(50.0), "{advice}");
}
