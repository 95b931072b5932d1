//! What is asked for often is ready again soon after a change, before anybody asks.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, Client, Tenant, TestApp};

async fn start() -> (TestApp, Tenant) {
    let app = TestApp::start_with(|config| config.warmups.rewarm = true).await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is in the kitchen.").await;
    (app, tenant)
}

async fn ask(client: &Client) -> Answer {
    client.post("/v1/agents/ada/recall", json!({"query": "Where is the kettle?"})).await
}

/// How many were warmed again, by outcome.
async fn rewarmed(app: &TestApp, outcome: &str) -> u64 {
    let text = app.stranger().get("/metrics").await.text;
    let name = format!("cairn_rewarms_total{{outcome=\"{outcome}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name)).expect("the series is there from the start");
    line.parse().expect("a number")
}

async fn wait_for(app: &TestApp, outcome: &str, count: u64) {
    for _ in 0..250 {
        if rewarmed(app, outcome).await >= count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain for {count} {outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_asked_for_often_is_ready_again_after_a_change() {
    let (app, tenant) = start().await;
    for _ in 0..3 {
        ask(&tenant).await.expect(200);
    }
    tenant.remember("ada", "The kettle for guests is in the attic.").await;
    wait_for(&app, "warmed", 1).await;
    let answer = ask(&tenant).await;
    assert!(answer.header("cairn-cache").starts_with("hit"), "{}", answer.header("cairn-cache"));
    assert!(answer.text.contains("for guests"), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_more_often_than_it_is_asked_for_is_not_computed_in_vain() {
    let (app, tenant) = start().await;
    for _ in 0..3 {
        ask(&tenant).await.expect(200);
    }
    tenant.remember("ada", "One change.").await;
    wait_for(&app, "warmed", 1).await;
    for number in 0..5 {
        tenant.remember("ada", &format!("Change {number}.")).await;
    }
    ask(&tenant).await.expect(200);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(rewarmed(&app, "warmed").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_does_not_want_it_is_left_alone() {
    let (app, tenant) = start().await;
    for _ in 0..3 {
        ask(&tenant).await.expect(200);
    }
    tenant.patch("/v1/tenant", json!({"rewarm": false})).await.expect(200);
    tenant.remember("ada", "One change.").await;
    wait_for(&app, "unwanted", 1).await;
    assert_eq!(ask(&tenant).await.header("cairn-cache"), "miss");
    for _ in 0..5 {
        ask(&tenant).await.expect(200);
    }
    tenant.remember("ada", "Another change.").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((rewarmed(&app, "warmed").await, rewarmed(&app, "unwanted").await), (0, 1), "not even noted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_members_answer_is_warmed_without_the_circle() {
    let (app, tenant) = start().await;
    tenant.put("/v1/circles/kitchen", json!({"name": "Kitchen", "owner": "bob"})).await.expect(201);
    tenant.put("/v1/circles/kitchen/members/ada", json!({"role": "reader"})).await.expect(201);
    let shared = json!({"content": "The kettle of the circle is red.", "circles": ["kitchen"]});
    tenant.remember_as("bob", shared).await;
    for _ in 0..4 {
        assert!(ask(&tenant).await.text.contains("is red"));
    }
    tenant.delete("/v1/circles/kitchen/members/ada").await.expect(204);
    tenant.remember("ada", "One change.").await;
    wait_for(&app, "warmed", 1).await;
    let answer: Value = ask(&tenant).await.expect(200);
    assert!(!answer.to_string().contains("is red"), "{answer}");
}
