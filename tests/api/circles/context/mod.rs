//! The context of a circle: what it tells, and to whom.

mod cached;
mod freshness;

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::caches::Pair;
use crate::circles::{circle_of, path_in};
use crate::harness::{Answer, Client, TestApp};

async fn context(client: &Client, circle: &str) -> Answer {
    let answer = client.get(&format!("/v1/circles/{circle}/context")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer
}

/// All but what the clock alone changes.
fn lasting(answer: &Answer) -> Value {
    let mut context = answer.json();
    context.as_object_mut().expect("an object").remove("as_of").expect("a moment");
    context["activity"].as_object_mut().expect("activity").remove("events_last_24h").expect("a count");
    context
}

async fn create_task(client: &Client, task: Value) -> String {
    let task = client.post("/v1/circles/c/tasks", task).await.expect(201);
    format!("/v1/circles/c/tasks/{}", task["id"].as_str().expect("an id"))
}

fn texts(list: &Value, field: &str) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|one| one[field].as_str().expect("text").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_tells_what_a_member_has_to_know() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("eve", "reader"), ("ada", "owner"), ("bob", "editor")]).await;
    tenant.patch("/v1/circles/c", json!({"purpose": "Cook.", "metadata": {"floor": 2}})).await.expect(200);
    let (ada, bob) = (tenant.acting_as("ada"), tenant.acting_as("bob"));
    for number in 0..12 {
        let memory = bob.remember("bob", &format!("The kettle number {number}.")).await;
        bob.put_nothing(&path_in(&memory, "c")).await;
    }
    bob.remember("bob", "Not shared.").await;
    let calm = create_task(&ada, json!({"title": "Tea", "priority": 1})).await;
    let urgent = create_task(&ada, json!({"title": "Fire", "priority": 9})).await;
    let done = create_task(&ada, json!({"title": "Bread"})).await;
    bob.post(&format!("{urgent}/claim"), json!({})).await.expect(200);
    ada.post(&format!("{done}/cancel"), json!({})).await.expect(200);

    let told = context(&tenant.acting_as("eve"), "c").await.json();
    let mut circle = ada.get("/v1/circles/c").await.expect(200);
    circle.as_object_mut().expect("a circle").remove("role").expect("a role");
    assert_eq!(told["circle"], circle);
    assert_eq!(texts(&told["members"], "agent_id"), ["ada", "bob", "eve"]);
    assert_eq!(texts(&told["members"], "role"), ["owner", "editor", "reader"]);
    let counts = json!({"open": 1, "claimed": 1, "submitted": 0, "approved": 0, "cancelled": 1});
    assert_eq!(told["tasks"]["counts"], counts);
    assert_eq!(texts(&told["tasks"]["active"], "title"), ["Fire", "Tea"]);
    assert_eq!(told["tasks"]["active"][1], ada.get(&calm).await.expect(200), "a task as its own route tells it");
    assert_eq!(told["memories"]["count"], 12);
    let recent: Vec<String> = (2..12).rev().map(|number| format!("The kettle number {number}.")).collect();
    assert_eq!(texts(&told["memories"]["recent"], "content"), recent);
    assert_eq!(told["memories"]["recent"][0]["circles"], json!(["c"]));
    // Made, three members at once, changed; twelve shared; three tasks, one claimed, one cancelled.
    assert!(told["activity"]["events_last_24h"].as_i64() >= Some(19), "{}", told["activity"]);
    assert!(told["activity"]["last_event_at"].as_str() <= told["as_of"].as_str(), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn activity_counts_what_happened_within_a_day_and_no_claims_that_came_too_late() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "editor"), ("bob", "editor")]).await;
    let activity = async || context(&tenant, "c").await.json()["activity"].clone();
    let task = create_task(&tenant, json!({"title": "Tea"})).await;
    let memory = tenant.remember("ada", "The kettle.").await;
    let before = activity().await;
    let ada = tenant.acting_as("ada");
    ada.put_nothing(&path_in(&memory, "c")).await;
    ada.delete(&path_in(&memory, "c")).await.expect(204);
    ada.post(&format!("{task}/claim"), json!({})).await.expect(200);
    tenant.acting_as("bob").post(&format!("{task}/claim"), json!({})).await.assert_problem(409, "wrong_state");
    let answer = tenant.get("/v1/circles/c/context?cache=bypass").await.expect(200);
    let after = answer["activity"].clone();
    let count = |activity: &Value| activity["events_last_24h"].as_i64().expect("a count");
    assert_eq!(count(&after) - count(&before), 3, "shared, unshared, claimed: {before} {after}");
    assert_eq!(activity().await, after);

    // A day and more goes by.
    let sql = format!(
        "UPDATE circle_events SET happened_at = happened_at - interval '25 hours' WHERE tenant_id = '{0}';
         UPDATE shares SET shared_at = shared_at - interval '25 hours', ended_at = ended_at - interval '25 hours'
          WHERE tenant_id = '{0}'",
        tenant.id
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut app.database.superuser().await).await.expect("aged");
    let answer = tenant.get("/v1/circles/c/context?cache=bypass").await.expect(200);
    assert_eq!(answer["activity"]["events_last_24h"], 0);
    assert!(answer["activity"]["last_event_at"].as_str() < after["last_event_at"].as_str(), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_is_for_members_from_the_very_next_call_on() {
    let pair = Pair::start().await;
    circle_of(&pair.tenant, "c", &[("ada", "owner"), ("bob", "reader")]).await;
    freshness::warm(&pair).await;
    let other = pair.other();
    for client in [&pair.tenant.client, &other] {
        context(&client.acting_as("bob"), "c").await;
        let stranger = client.acting_as("eve").get("/v1/circles/c/context").await.assert_problem(404, "not_found");
        let nowhere = client.acting_as("eve").get("/v1/circles/d/context").await.assert_problem(404, "not_found");
        assert_eq!(stranger["detail"], nowhere["detail"]);
        let neighbour = pair.here.new_tenant().await;
        neighbour.get("/v1/circles/c/context").await.assert_problem(404, "not_found");
    }
    other.delete("/v1/circles/c/members/bob").await.expect(204);
    freshness::warm(&pair).await;
    for client in [&pair.tenant.client, &other] {
        client.acting_as("bob").get("/v1/circles/c/context").await.assert_problem(404, "not_found");
    }
    let writer = pair.here.client(pair.tenant.id, "circles:manage,memories:read", None).await;
    writer.get("/v1/circles/c/context").await.assert_problem(403, "insufficient_scope");
}
