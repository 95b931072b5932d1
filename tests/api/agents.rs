//! Agents: created, changed, listed, erased.

use serde_json::json;

use crate::harness::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_created_replaced_and_patched() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;

    let ada =
        tenant.put("/v1/agents/ada", json!({"name": "Ada", "metadata": {"team": "a", "level": 3}})).await.expect(201);
    assert_eq!((&ada["id"], &ada["name"]), (&json!("ada"), &json!("Ada")));

    let patched =
        tenant.patch("/v1/agents/ada", json!({"name": null, "metadata": {"level": null, "x": [1]}})).await.expect(200);
    assert_eq!((&patched["name"], &patched["metadata"]), (&json!(null), &json!({"team": "a", "x": [1]})));

    let replaced = tenant.put("/v1/agents/ada", json!({})).await.expect(200);
    assert_eq!((&replaced["name"], &replaced["metadata"]), (&json!(null), &json!({})));
    assert_eq!(tenant.get("/v1/agents/ada").await.expect(200), replaced);
    tenant.get("/v1/agents/bob").await.assert_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_a_stale_condition_is_refused() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let created = tenant.put("/v1/agents/ada", json!({})).await;
    let etag = created.header("etag").to_owned();
    let patch =
        |etag: &str| tenant.request(reqwest::Method::PATCH, "/v1/agents/ada").header("if-match", etag.to_owned());

    let changed = tenant.send(patch(&etag).json(&json!({"name": "Ada"}))).await;
    changed.expect(200);
    tenant.send(patch(&etag).json(&json!({"name": "Eve"}))).await.assert_problem(412, "precondition_failed");
    tenant.send(patch("nonsense").json(&json!({"name": "Eve"}))).await.assert_problem(412, "precondition_failed");
    tenant.send(patch(changed.header("etag")).json(&json!({"name": "Eve"}))).await.expect(200);

    let delete = tenant.request(reqwest::Method::DELETE, "/v1/agents/ada").header("if-match", etag);
    tenant.send(delete).await.assert_problem(412, "precondition_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_pages_through_every_agent_once() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    for n in 0..7 {
        tenant.put(&format!("/v1/agents/agent-{n}"), json!({})).await.expect(201);
    }
    let mut seen = Vec::new();
    let mut path = "/v1/agents?limit=3".to_owned();
    loop {
        let page = tenant.get(&path).await.expect(200);
        seen.extend(
            page["items"].as_array().expect("items").iter().map(|agent| agent["id"].as_str().expect("id").to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/agents?limit=3&cursor={cursor}");
    }
    assert_eq!(seen, (0..7).map(|n| format!("agent-{n}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn erasing_an_agent_takes_its_memories_and_its_credentials() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is broken.").await;
    tenant.remember("ada", "The door is green.").await;
    tenant.remember("bob", "The lamp is new.").await;
    let bound = app.client(tenant.id, "all", Some("ada")).await;
    bound.get("/v1/agents/ada").await.expect(200);

    let receipt = tenant.delete("/v1/agents/ada").await.expect(200);
    assert_eq!(receipt, json!({"agent_id": "ada", "memories": 2, "keys": 1, "circles": 0}));
    bound.get("/v1/agents/ada").await.assert_problem(401, "unauthenticated");
    tenant.delete("/v1/agents/ada").await.assert_problem(404, "not_found");
    assert_eq!(tenant.recalled("bob", json!({"query": "lamp"})).await, ["The lamp is new."]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_agent_inherits_nothing() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is broken.").await;
    let etag = tenant.get("/v1/agents/ada").await.header("etag").to_owned();
    tenant.delete("/v1/agents/ada").await.expect(200);
    tenant.put("/v1/agents/ada", json!({})).await.expect(201);

    assert!(tenant.recalled("ada", json!({"query": "kettle"})).await.is_empty());
    let patch = tenant.request(reqwest::Method::PATCH, "/v1/agents/ada").header("if-match", etag);
    tenant.send(patch.json(&json!({"name": "Ada"}))).await.assert_problem(412, "precondition_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_count_what_an_agent_remembers() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "1234567890").await;
    tenant.remember_as("ada", json!({"content": "12345", "kind": "event"})).await;
    let stats = tenant.get("/v1/agents/ada/stats").await.expect(200);
    let remembered = json!({"memories": 2, "memories_by_kind": {"event": 1, "fact": 1}, "bytes": 15, "circles": 0});
    let recalled = json!({"recalls": 0, "hit_rate": null});
    for (name, value) in [remembered, recalled].iter().flat_map(|part| part.as_object().expect("an object")) {
        assert_eq!(stats[name], *value, "{name} in {stats}");
    }
}
