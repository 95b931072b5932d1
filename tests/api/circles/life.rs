//! A circle from its creation to its end.

use reqwest::Method;
use serde_json::json;

use crate::circles::{circle_of, members_of};
use crate::harness::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_owns_the_circle_it_creates() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let ada = tenant.acting_as("ada");
    let body = json!({"name": "Kitchen", "purpose": "Cook.", "metadata": {"floor": 2}});
    let circle = ada.put("/v1/circles/kitchen", body.clone()).await.expect(201);
    assert_eq!(
        (&circle["id"], &circle["role"], &circle["purpose"]),
        (&json!("kitchen"), &json!("owner"), &json!("Cook."))
    );
    assert_eq!(ada.put("/v1/circles/kitchen", body).await.expect(200), circle, "nothing changed");
    assert_eq!(ada.get("/v1/circles/kitchen").await.expect(200), circle);
    assert_eq!(members_of(&ada, "kitchen").await, [("ada".into(), "owner".into())]);

    let mut unseen = circle.clone();
    unseen["role"] = json!(null);
    assert_eq!(tenant.get("/v1/circles/kitchen").await.expect(200), unseen, "a back end has no role");
    tenant.acting_as("bob").get("/v1/circles/kitchen").await.assert_problem(404, "not_found");
    let taken = tenant.acting_as("bob").put("/v1/circles/kitchen", json!({"name": "Mine"})).await;
    taken.assert_problem(409, "id_taken");
    assert_eq!(ada.get("/v1/circles/kitchen").await.expect(200), circle);

    let named = ada.put("/v1/circles/garden", json!({"name": "Garden", "owner": "bob"})).await;
    assert_eq!(named.assert_problem(422, "invalid_value")["errors"][0]["pointer"], "/owner");
    ada.put("/v1/circles/garden", json!({"name": "Garden", "owner": "ada"})).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_back_end_names_the_owner_or_leaves_the_circle_to_itself() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.put("/v1/circles/a", json!({"name": "A", "owner": "ada"})).await.expect(201);
    assert_eq!(members_of(&tenant, "a").await, [("ada".into(), "owner".into())], "and makes it, as remember does");
    tenant.put("/v1/circles/b", json!({"name": "B"})).await.expect(201);
    assert_eq!(members_of(&tenant, "b").await, []);
    tenant.put("/v1/circles/b", json!({"name": "B", "owner": "bob"})).await.expect(200);
    assert_eq!(members_of(&tenant, "b").await, [("bob".into(), "owner".into())]);

    tenant.patch("/v1/tenant", json!({"auto_create_agents": false})).await.expect(200);
    let refused = tenant.put("/v1/circles/c", json!({"name": "C", "owner": "eve"})).await;
    assert_eq!(refused.assert_problem(422, "invalid_value")["errors"][0]["pointer"], "/owner");
    tenant.acting_as("eve").put("/v1/circles/c", json!({"name": "C"})).await.assert_problem(404, "not_found");
    tenant.get("/v1/circles/c").await.assert_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_changed_by_owners_on_the_version_they_have_seen() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "owner"), ("bob", "editor")]).await;
    let ada = tenant.acting_as("ada");
    let seen = ada.get("/v1/circles/c").await.header("etag").to_owned();
    let changed = ada.patch("/v1/circles/c", json!({"purpose": "Tea", "metadata": {"a": 1}})).await.expect(200);
    assert_eq!((&changed["name"], &changed["purpose"]), (&json!("c"), &json!("Tea")));
    let stale = ada.request(Method::PATCH, "/v1/circles/c").header("if-match", &seen).json(&json!({"name": "D"}));
    ada.send(stale).await.assert_problem(412, "precondition_failed");
    let cleared = ada.patch("/v1/circles/c", json!({"purpose": null, "metadata": {"a": null}})).await.expect(200);
    assert_eq!((&cleared["purpose"], &cleared["metadata"]), (&json!(null), &json!({})));

    let bob = tenant.acting_as("bob");
    bob.patch("/v1/circles/c", json!({"name": "Mine"})).await.assert_problem(403, "role_required");
    bob.delete("/v1/circles/c").await.assert_problem(403, "role_required");
    ada.patch("/v1/circles/c", json!({"name": null})).await.assert_problem(422, "invalid_type");
    ada.patch("/v1/circles/c", json!({"owner": "bob"})).await.assert_problem(422, "unknown_field");
    let stale = ada.request(Method::DELETE, "/v1/circles/c").header("if-match", &seen);
    ada.send(stale).await.assert_problem(412, "precondition_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_shows_an_agent_its_own_circles_with_its_roles() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "a", &[("ada", "owner")]).await;
    circle_of(&tenant, "b", &[("bob", "owner"), ("ada", "reader")]).await;
    circle_of(&tenant, "c", &[("bob", "owner")]).await;
    let listed = async |path: &str, agent: Option<&str>| {
        let caller = agent.map_or_else(|| tenant.at(tenant.url()), |agent| tenant.acting_as(agent));
        let page = caller.get(path).await.expect(200);
        let items = page["items"].as_array().expect("items").iter();
        let circles: Vec<_> = items.map(|circle| (circle["id"].clone(), circle["role"].clone())).collect();
        (circles, page["next_cursor"].as_str().map(str::to_owned))
    };
    let (of_ada, _) = listed("/v1/circles", Some("ada")).await;
    assert_eq!(of_ada, [(json!("a"), json!("owner")), (json!("b"), json!("reader"))]);
    assert_eq!(listed("/v1/circles", Some("nobody")).await.0, []);
    let (first, cursor) = listed("/v1/circles?limit=2", None).await;
    assert_eq!(first, [(json!("a"), json!(null)), (json!("b"), json!(null))]);
    let rest = listed(&format!("/v1/circles?limit=2&cursor={}", cursor.expect("more")), None).await;
    assert_eq!(rest, (vec![(json!("c"), json!(null))], None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_circle_leaves_a_receipt_and_nothing_to_its_successor() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "owner"), ("bob", "editor")]).await;
    let memory = tenant.remember_as("ada", json!({"content": "The kettle is broken.", "circles": ["c"]})).await;
    tenant.acting_as("bob").post("/v1/circles/c/tasks", json!({"title": "Mend it"})).await.expect(201);
    let ada = tenant.acting_as("ada");
    let delete = || ada.request(Method::DELETE, "/v1/circles/c").header("idempotency-key", "once");
    let receipt = ada.send(delete()).await.expect(200);
    assert_eq!(receipt, json!({"members": 2, "shared": 1, "tasks": 1}));
    let replayed = ada.send(delete()).await;
    assert_eq!((replayed.expect(200), replayed.header("idempotency-replayed")), (receipt, "true"));
    let stranger = tenant.acting_as("bob");
    let stolen = stranger.request(Method::DELETE, "/v1/circles/c").header("idempotency-key", "once");
    stranger.send(stolen).await.assert_problem(404, "not_found");

    for path in ["/v1/circles/c", "/v1/circles/c/members", "/v1/circles/c/tasks", "/v1/circles/c/context"] {
        tenant.get(path).await.assert_problem(404, "not_found");
    }
    let id = memory["id"].as_str().expect("an id");
    let kept = ada.get(&format!("/v1/memories/{id}")).await.expect(200);
    assert_eq!((&kept["content"], &kept["circles"]), (&memory["content"], &json!([])));
    stranger.get(&format!("/v1/memories/{id}")).await.assert_problem(404, "not_found");

    circle_of(&tenant, "c", &[("bob", "owner")]).await;
    assert_eq!(members_of(&stranger, "c").await, [("bob".into(), "owner".into())]);
    let found = stranger.post("/v1/circles/c/recall", json!({"query": "kettle"})).await.expect(200);
    assert_eq!(found["results"], json!([]));
    ada.get("/v1/circles/c").await.assert_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_circle_is_said_where_it_is() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    for (body, code, pointer) in [
        (json!({}), "field_missing", "/name"),
        (json!({"name": " "}), "field_empty", "/name"),
        (json!({"name": "n".repeat(201)}), "field_too_long", "/name"),
        (json!({"name": "n", "purpose": "p".repeat(4097)}), "field_too_long", "/purpose"),
        (json!({"name": "n", "owner": "a b"}), "invalid_id", "/owner"),
        (json!({"name": "n", "colour": "red"}), "unknown_field", "/colour"),
        (json!({"name": "n", "metadata": []}), "invalid_type", "/metadata"),
    ] {
        let problem = tenant.put("/v1/circles/c", body).await.assert_problem(422, code);
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    tenant.put("/v1/circles/a%20b", json!({"name": "n"})).await.assert_problem(422, "invalid_id");
    tenant.get("/v1/circles/a%20b").await.assert_problem(422, "invalid_id");
    tenant.get("/v1/circles/c").await.assert_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_of_another_tenant_is_not_there() {
    let app = TestApp::start().await;
    let (tenant, other) = (app.new_tenant().await, app.new_tenant().await);
    circle_of(&tenant, "c", &[("ada", "owner")]).await;
    for caller in [other.at(other.url()), other.acting_as("ada")] {
        caller.get("/v1/circles/c").await.assert_problem(404, "not_found");
        caller.get("/v1/circles/c/members").await.assert_problem(404, "not_found");
        caller.patch("/v1/circles/c", json!({"name": "Mine"})).await.assert_problem(404, "not_found");
        caller.put("/v1/circles/c/members/ada", json!({"role": "owner"})).await.assert_problem(404, "not_found");
        caller.delete("/v1/circles/c").await.assert_problem(404, "not_found");
        assert_eq!(caller.get("/v1/circles").await.expect(200)["items"], json!([]));
    }
    other.put("/v1/circles/c", json!({"name": "Theirs"})).await.expect(201);
    assert_eq!(tenant.get("/v1/circles/c").await.expect(200)["name"], "c");
}
