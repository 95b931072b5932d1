//! What was shared by someone who may no longer share: it stays for the circle as it is, until it is forgotten or an
//! owner unshares it.

use serde_json::{Value, json};

use crate::circles::{circle_of, in_circle, path_in, path_of};
use crate::harness::{Answer, Client, Tenant, TestApp};

/// A keyed memory of Ada, shared with `b` and `a`, of which Bob is owner and Eve reader.
async fn scene(app: &TestApp) -> (Tenant, Value) {
    let tenant = app.new_tenant().await;
    for circle in ["b", "a"] {
        circle_of(&tenant, circle, &[("ada", "editor"), ("bob", "owner"), ("eve", "reader")]).await;
    }
    let memory = json!({"content": "kettle", "key": "k", "circles": ["b", "a"]});
    let memory = tenant.remember_as("ada", memory).await;
    (tenant, memory)
}

async fn replace(caller: &Client, memory: Value) -> Answer {
    caller.post("/v1/agents/ada/remember", memory).await
}

/// Every way to change what it says, or with whom it is shared, by whoever may act for the author.
async fn assert_frozen(app: &TestApp, tenant: &Tenant, memory: &Value, circles: &str) {
    let bound = app.client(tenant.id, "all", Some("ada")).await;
    for caller in [&tenant.client, &tenant.acting_as("ada"), &bound] {
        let path = path_of(memory);
        let batch = json!({"memories": [{"content": "by key", "key": "k"}, {"content": "bystander"}]});
        for answer in [
            caller.patch(&path, json!({"content": "changed"})).await,
            caller.patch(&path, json!({"importance": 0.1})).await,
            caller.patch(&path, json!({"circles": []})).await,
            replace(caller, json!({"content": "by key", "key": "k"})).await,
            replace(caller, json!({"content": "kettle", "key": "k", "circles": []})).await,
            caller.post("/v1/agents/ada/remember/batch", batch).await,
        ] {
            let problem = answer.assert_problem(409, "shared_readonly");
            let detail = problem["detail"].as_str().expect("a detail");
            assert!(detail.ends_with(&format!(": {circles}")), "{detail}");
        }
        assert_eq!(caller.patch(&path, json!({"importance": 0.5})).await.expect(200)["version"], memory["version"]);
        let same = replace(caller, json!({"content": "kettle", "key": "k"})).await.expect(200);
        assert_eq!(same["version"], memory["version"], "nothing changes, so nothing is refused");
    }
    assert_eq!(tenant.get("/v1/agents/ada/stats").await.expect(200)["memories"], 1, "the batch left nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_removed_member_shared_stays_and_cannot_be_changed() {
    let app = TestApp::start().await;
    let (tenant, memory) = scene(&app).await;
    tenant.delete("/v1/circles/b/members/ada").await.expect(204);
    assert_frozen(&app, &tenant, &memory, "b").await;
    tenant.delete("/v1/circles/a/members/ada").await.expect(204);
    assert_frozen(&app, &tenant, &memory, "a, b").await;
    for circle in ["a", "b"] {
        assert_eq!(in_circle(&tenant.acting_as("eve"), circle).await, ["kettle"]);
    }
    assert_eq!(tenant.recalled("eve", json!({"query": "kettle"})).await, ["kettle"]);
    assert_eq!(tenant.acting_as("ada").get(&path_of(&memory)).await.expect(200)["circles"], json!([]));

    tenant.acting_as("bob").delete(&path_in(&memory, "b")).await.expect(204);
    assert_frozen(&app, &tenant, &memory, "a").await;
    tenant.acting_as("bob").delete(&path_in(&memory, "a")).await.expect(204);
    let changed = tenant.patch(&path_of(&memory), json!({"content": "changed"})).await.expect(200);
    assert_eq!(changed["version"], 2, "an owner set it free");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reader_shared_before_is_frozen_until_it_is_editor_again() {
    let app = TestApp::start().await;
    let (tenant, memory) = scene(&app).await;
    tenant.put("/v1/circles/a/members/ada", json!({"role": "reader"})).await.expect(200);
    assert_frozen(&app, &tenant, &memory, "a").await;
    tenant.acting_as("ada").delete(&path_in(&memory, "a")).await.assert_problem(403, "role_required");
    let named = json!({"content": "kettle", "key": "k", "circles": ["a", "b"]});
    replace(&tenant, named).await.assert_problem(403, "role_required");
    tenant.put("/v1/circles/a/members/ada", json!({"role": "editor"})).await.expect(200);
    tenant.acting_as("ada").patch(&path_of(&memory), json!({"content": "changed"})).await.expect(200);
    assert_eq!(in_circle(&tenant, "a").await, ["changed"]);

    // Out and in again is the same member with the same shares.
    tenant.delete("/v1/circles/a/members/ada").await.expect(204);
    tenant.put("/v1/circles/a/members/ada", json!({"role": "owner"})).await.expect(201);
    replace(&tenant, json!({"content": "again", "key": "k"})).await.expect(200);
    assert_eq!(in_circle(&tenant, "a").await, ["again"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_frozen_can_be_shared_elsewhere_and_forgotten() {
    let app = TestApp::start().await;
    let (tenant, memory) = scene(&app).await;
    circle_of(&tenant, "d", &[("ada", "editor")]).await;
    tenant.delete("/v1/circles/b/members/ada").await.expect(204);
    let ada = tenant.acting_as("ada");
    ada.put_nothing(&path_in(&memory, "d")).await.expect(201);
    assert_eq!(in_circle(&ada, "d").await, ["kettle"]);
    let again = replace(&tenant, json!({"content": "kettle", "circles": ["d"]})).await;
    assert_eq!((again.status, again.header("cairn-duplicate")), (200, "true"));
    ada.delete(&path_of(&memory)).await.expect(204);
    for circle in ["a", "b", "d"] {
        assert!(in_circle(&tenant, circle).await.is_empty(), "it left {circle} too");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_expired_is_free_again_frozen_or_not() {
    let app = TestApp::start().await;
    let (tenant, memory) = scene(&app).await;
    tenant.patch(&path_of(&memory), json!({"expires_at": "2999-01-01T00:00:00Z"})).await.expect(200);
    tenant.delete("/v1/circles/b/members/ada").await.expect(204);
    let sql = "BEGIN;
        UPDATE scope_epochs SET n = n + 1;
        UPDATE memories SET expires_at = now();
        UPDATE placements SET expires_at = now();
        UPDATE placement_terms SET expires_at = now();
        COMMIT";
    sqlx::raw_sql(sql).execute(&mut app.database.superuser().await).await.expect("expires");
    assert!(in_circle(&tenant, "b").await.is_empty(), "what has expired is absent");
    let new = replace(&tenant, json!({"content": "new", "key": "k"})).await.expect(201);
    assert_eq!(new["circles"], json!([]));
    let shares = tenant.get("/v1/circles/b/shares").await.expect(200)["items"].clone();
    assert!(shares[0]["ended_at"].is_string() && shares[0]["ended_by"].is_null(), "{shares}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_may_take_its_shares_along() {
    let app = TestApp::start().await;
    let (tenant, memory) = scene(&app).await;
    let other = tenant.remember_as("bob", json!({"content": "Bob's", "circles": ["b"]})).await;
    tenant.acting_as("ada").delete("/v1/circles/b/members/ada?unshare=true").await.expect(204);
    assert_eq!(in_circle(&tenant, "b").await, ["Bob's"]);
    assert_eq!(tenant.get(&path_of(&memory)).await.expect(200)["circles"], json!(["a"]));
    assert_eq!(tenant.recalled("eve", json!({"query": "kettle", "within": {"circles": ["b"]}})).await, ["Bob's"]);
    let changed = tenant.patch(&path_of(&memory), json!({"content": "changed"})).await.expect(200);
    assert_eq!(changed["version"], 2, "nothing is frozen");
    assert_eq!(in_circle(&tenant, "a").await, ["changed"]);
    assert_eq!(tenant.get(&path_of(&other)).await.expect(200)["circles"], json!(["b"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_circle_takes_its_places_and_no_memory() {
    let app = TestApp::start().await;
    let (tenant, memory) = scene(&app).await;
    tenant.remember_as("bob", json!({"content": "Bob's", "circles": ["b"]})).await;
    tenant.delete("/v1/circles/b/members/ada").await.expect(204);
    assert_frozen(&app, &tenant, &memory, "b").await;
    let receipt = tenant.delete("/v1/circles/b").await.expect(200);
    assert_eq!(receipt["shared"], 2, "{receipt}");
    assert_eq!(tenant.get(&path_of(&memory)).await.expect(200)["circles"], json!(["a"]));
    tenant.patch(&path_of(&memory), json!({"content": "changed"})).await.expect(200);
    assert_eq!(tenant.recalled("bob", json!({"query": "changed", "k": 1})).await, ["changed"], "by way of a");
    // A new circle of that name inherits nothing.
    circle_of(&tenant, "b", &[("bob", "owner")]).await;
    assert!(in_circle(&tenant, "b").await.is_empty());
    assert_eq!(tenant.get("/v1/circles/b/shares").await.expect(200)["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_agent_leaves_nothing_in_any_circle_but_the_audit() {
    let app = TestApp::start().await;
    let (tenant, memory) = scene(&app).await;
    tenant.delete("/v1/circles/b/members/ada").await.expect(204);
    tenant.delete("/v1/agents/ada").await.expect(200);
    for circle in ["a", "b"] {
        assert!(in_circle(&tenant, circle).await.is_empty());
        let shares = tenant.get(&format!("/v1/circles/{circle}/shares")).await.expect(200)["items"].clone();
        assert_eq!((&shares[0]["memory_id"], &shares[0]["agent_id"]), (&memory["id"], &json!("ada")));
        assert!(shares[0]["ended_at"].is_string() && shares[0]["ended_by"].is_string(), "{shares}");
    }
    assert!(tenant.recalled("eve", json!({"query": "kettle"})).await.is_empty());
}
