//! Members: added, changed, removed, leaving; what each role may do to them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::circles::{circle_of, members_of};
use crate::harness::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn owners_add_change_and_remove_members() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "owner")]).await;
    let ada = tenant.acting_as("ada");
    let added = ada.put("/v1/circles/c/members/bob", json!({"role": "editor"})).await.expect(201);
    assert_eq!((&added["agent_id"], &added["role"]), (&json!("bob"), &json!("editor")));
    let changed = ada.put("/v1/circles/c/members/bob", json!({"role": "reader"})).await.expect(200);
    assert_eq!((&changed["role"], &changed["joined_at"]), (&json!("reader"), &added["joined_at"]));

    let list = json!({"members": [{"agent_id": "eve", "role": "reader"}, {"agent_id": "bob", "role": "owner"}]});
    let both = ada.put("/v1/circles/c/members", list).await.expect(200);
    let names: Vec<&Value> = both["members"].as_array().expect("members").iter().map(|one| &one["agent_id"]).collect();
    assert_eq!(names, ["eve", "bob"], "in the order sent");
    let all = [("ada", "owner"), ("bob", "owner"), ("eve", "reader")].map(|(a, r)| (a.to_owned(), r.to_owned()));
    assert_eq!(members_of(&ada, "c").await, all);

    let seen = ada.put("/v1/circles/c/members/eve", json!({"role": "reader"})).await.header("etag").to_owned();
    ada.put("/v1/circles/c/members/eve", json!({"role": "editor"})).await.expect(200);
    let stale = ada.request(Method::DELETE, "/v1/circles/c/members/eve").header("if-match", seen);
    ada.send(stale).await.assert_problem(412, "precondition_failed");
    ada.delete("/v1/circles/c/members/eve").await.expect(204);
    ada.delete("/v1/circles/c/members/eve").await.assert_problem(404, "not_found");
    assert_eq!(members_of(&ada, "c").await, all[..2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_may_only_leave() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "owner"), ("bob", "editor"), ("eve", "reader")]).await;
    for agent in ["bob", "eve"] {
        let caller = tenant.acting_as(agent);
        caller.put("/v1/circles/c/members/mal", json!({"role": "reader"})).await.assert_problem(403, "role_required");
        let list = json!({"members": [{"agent_id": agent, "role": "owner"}]});
        caller.put("/v1/circles/c/members", list).await.assert_problem(403, "role_required");
        caller.delete("/v1/circles/c/members/ada").await.assert_problem(403, "role_required");
        let leave = || caller.request(Method::DELETE, &format!("/v1/circles/c/members/{agent}"));
        caller.send(leave().header("idempotency-key", "bye")).await.expect(204);
        caller.get("/v1/circles/c").await.assert_problem(404, "not_found");
        let again = caller.send(leave().header("idempotency-key", "bye")).await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (204, "true"));
        caller.send(leave()).await.assert_problem(404, "not_found");
    }
    let stranger = tenant.acting_as("mal");
    for answer in [
        stranger.get("/v1/circles/c/members").await,
        stranger.put("/v1/circles/c/members/mal", json!({"role": "owner"})).await,
        stranger.delete("/v1/circles/c/members/ada").await,
        stranger.delete("/v1/circles/c/members/mal").await,
    ] {
        answer.assert_problem(404, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_owner_stays() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "owner"), ("bob", "editor")]).await;
    let ada = tenant.acting_as("ada");
    for caller in [&ada, &tenant.at(tenant.url())] {
        caller.delete("/v1/circles/c/members/ada").await.assert_problem(409, "last_owner");
        caller.put("/v1/circles/c/members/ada", json!({"role": "editor"})).await.assert_problem(409, "last_owner");
    }
    let swap = json!({"members": [{"agent_id": "ada", "role": "reader"}, {"agent_id": "bob", "role": "owner"}]});
    ada.put("/v1/circles/c/members", swap).await.expect(200);
    assert_eq!(members_of(&ada, "c").await, [("ada".into(), "reader".into()), ("bob".into(), "owner".into())]);
    ada.delete("/v1/circles/c/members/ada").await.expect(204);

    // Erasing is never refused; the circle is then the back end's to manage.
    let receipt = tenant.delete("/v1/agents/bob").await.expect(200);
    assert_eq!(receipt["circles"], 1);
    assert_eq!(members_of(&tenant, "c").await, []);
    tenant.put("/v1/circles/c/members/eve", json!({"role": "owner"})).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_item_refuses_the_whole_list() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "owner")]).await;
    let item = |agent: &str, role: &str| json!({"agent_id": agent, "role": role});
    let bound = app.client(tenant.id, "all", Some("ada")).await;
    for (members, code, pointer) in [
        (json!([]), "field_empty", "/members"),
        (json!([item("bob", "editor"), item("bob", "reader")]), "duplicate_item", "/members/1/agent_id"),
        (json!([item("bob", "king")]), "invalid_value", "/members/0/role"),
        (json!([item("a b", "editor")]), "invalid_id", "/members/0/agent_id"),
        (json!([item("ada", "owner"), item("nobody", "editor")]), "invalid_value", "/members/1/agent_id"),
        (json!((0..1001).map(|n| item(&format!("m{n}"), "reader")).collect::<Vec<_>>()), "too_many_items", "/members"),
    ] {
        let refused = bound.put("/v1/circles/c/members", json!({"members": members})).await;
        assert_eq!(refused.assert_problem(422, code)["errors"][0]["pointer"], pointer);
    }
    bound.put("/v1/circles/c/members/nobody", json!({"role": "editor"})).await.assert_problem(404, "not_found");
    bound.put("/v1/circles/c/members/a%20b", json!({"role": "editor"})).await.assert_problem(422, "invalid_id");
    bound.delete("/v1/circles/c/members/ada?unshare=maybe").await.assert_problem(422, "invalid_value");
    assert_eq!(members_of(&tenant, "c").await, [("ada".into(), "owner".into())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_sent_again_has_one_effect() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "owner")]).await;
    let put = |path: &str, key: &str, body: Value| {
        tenant.request(Method::PUT, path).header("idempotency-key", key.to_owned()).json(&body)
    };
    let role = |role: &str| json!({"role": role});
    let first = tenant.send(put("/v1/circles/c/members/bob", "k1", role("reader"))).await.expect(201);
    tenant.put("/v1/circles/c/members/bob", role("editor")).await.expect(200);
    let again = tenant.send(put("/v1/circles/c/members/bob", "k1", role("reader"))).await.expect(201);
    assert_eq!((&again["role"], &again["joined_at"]), (&json!("editor"), &first["joined_at"]), "as it is now");
    tenant.delete("/v1/circles/c/members/bob").await.expect(204);
    tenant.send(put("/v1/circles/c/members/bob", "k1", role("reader"))).await.assert_problem(410, "gone");
    tenant
        .send(put("/v1/circles/c/members/bob", "k1", role("owner")))
        .await
        .assert_problem(422, "idempotency_key_reused");

    let made = tenant.send(put("/v1/circles/d", "k2", json!({"name": "D"}))).await.expect(201);
    assert_eq!(tenant.send(put("/v1/circles/d", "k2", json!({"name": "D"}))).await.expect(201), made);
    tenant.delete("/v1/circles/d").await.expect(200);
    tenant.put("/v1/circles/d", json!({"name": "Another"})).await.expect(201);
    tenant.send(put("/v1/circles/d", "k2", json!({"name": "D"}))).await.assert_problem(410, "gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_made_anew_is_a_member_of_nothing() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "owner"), ("bob", "editor")]).await;
    assert_eq!(tenant.delete("/v1/agents/bob").await.expect(200)["circles"], 1);
    tenant.put("/v1/agents/bob", json!({})).await.expect(201);
    tenant.acting_as("bob").get("/v1/circles/c").await.assert_problem(404, "not_found");
    assert_eq!(members_of(&tenant, "c").await, [("ada".into(), "owner".into())]);
}
