//! Whoever is to lose a right cannot keep it by using it all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::circles::circle_of;
use crate::harness::{Client, Tenant, TestApp};

/// More than enough that one write always begins before another ends.
const CALLERS: usize = 8;
const ROUNDS: usize = 5;
const BOB: &str = "/v1/circles/c/members/bob";

async fn write_on(bob: Client, writer: usize, memory: String, over: Arc<AtomicBool>) {
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let answer = if writer.is_multiple_of(2) {
            bob.patch(&format!("/v1/memories/{memory}"), json!({"metadata": {"n": number}})).await
        } else {
            let stone = json!({"key": writer.to_string(), "content": format!("Stone {writer} weighs {number} kg")});
            bob.post("/v1/agents/bob/remember", stone).await
        };
        assert!([200, 201, 409].contains(&answer.status), "{}", answer.text);
    }
}

/// Acts while an editor changes what it shared, over and over.
async fn while_bob_writes(act: impl AsyncFn(&Tenant)) {
    let app = TestApp::start_with(|config| config.database.acquire_timeout_ms = 10_000).await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "owner"), ("bob", "editor")]).await;
    let (over, mut writers) = (Arc::<AtomicBool>::default(), JoinSet::new());
    for number in 0..CALLERS {
        let memory = json!({"content": format!("Stone {number}"), "key": number.to_string(), "circles": ["c"]});
        let memory = tenant.remember_as("bob", memory).await["id"].as_str().expect("an id").to_owned();
        writers.spawn(write_on(tenant.acting_as("bob"), number, memory, over.clone()));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    act(&tenant).await;
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = writers.join_next().await {
        ended.expect("no writer panics");
    }
}

/// Sends it to the member; it must not have to wait until the writers pause.
async fn change(ada: &Client, method: Method, role: Option<&str>) {
    let request = ada.request(method, BOB);
    let request = if let Some(role) = role { request.json(&json!({"role": role})) } else { request };
    let answer = ada.send(request).await;
    assert!([200, 201, 204].contains(&answer.status), "the writers are in the way: {}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_writes_without_pause_is_removed_all_the_same() {
    while_bob_writes(async |tenant| {
        let ada = tenant.acting_as("ada");
        for _ in 0..ROUNDS {
            change(&ada, Method::DELETE, None).await;
            change(&ada, Method::PUT, Some("editor")).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_writes_without_pause_becomes_a_reader_all_the_same() {
    while_bob_writes(async |tenant| {
        let ada = tenant.acting_as("ada");
        for _ in 0..ROUNDS {
            change(&ada, Method::PUT, Some("reader")).await;
            change(&ada, Method::PUT, Some("editor")).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_in_which_somebody_writes_without_pause_is_deleted_all_the_same() {
    while_bob_writes(async |tenant| {
        let receipt = tenant.acting_as("ada").delete("/v1/circles/c").await.expect(200);
        assert_eq!((&receipt["members"], &receipt["shared"]), (&json!(2), &json!(CALLERS)));
    })
    .await;
}
