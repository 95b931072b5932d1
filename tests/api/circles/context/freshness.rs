//! Every change shows in the next context, on either server, however warm the caches are.

use std::time::Duration;

use serde_json::{Value, json};

use super::{context, create_task, lasting};
use crate::caches::{Pair, source};
use crate::circles::{circle_of, path_in, path_of};
use crate::harness::Client;

/// Changes to what a context tells, in an order in which each is possible. Every other one is made at the other server.
const CHANGES: [&str; 24] = [
    "settings patched",
    "circle replaced",
    "member added",
    "role changed",
    "task created",
    "task patched",
    "task claimed",
    "task submitted",
    "task rejected",
    "task claimed again",
    "assignee removed",
    "task cancelled",
    "task deleted",
    "task approved",
    "member leaves",
    "remembered into the circle",
    "shared",
    "edited",
    "replaced by its key",
    "unshared",
    "forgotten",
    "forgotten by filter",
    "member erased",
    "recreated",
];

async fn change(client: &Client, what: &str) {
    let first_task = async || {
        let list = client.get("/v1/circles/c/tasks").await.expect(200);
        format!("/v1/circles/c/tasks/{}", list["items"][0]["id"].as_str().expect("a task"))
    };
    let memory = async |key: &str| {
        let list = client.get(&format!("/v1/agents/ada/memories?key={key}")).await.expect(200);
        list["items"][0].clone()
    };
    let (ada, bob) = (client.acting_as("ada"), client.acting_as("bob"));
    let step = async |agent: &Client, step: &str| {
        agent.post(&format!("{}/{step}", first_task().await), json!({})).await.expect(200);
    };
    let done = match what {
        "settings patched" => client.patch("/v1/circles/c", json!({"purpose": "Cook."})).await,
        "circle replaced" => ada.put("/v1/circles/c", json!({"name": "Kitchen"})).await,
        "member added" => {
            return drop(client.put("/v1/circles/c/members/bob", json!({"role": "reader"})).await.expect(201));
        }
        "role changed" => client.put("/v1/circles/c/members/bob", json!({"role": "editor"})).await,
        "task created" => return drop(create_task(&ada, json!({"title": "Tea"})).await),
        "task patched" => client.patch(&first_task().await, json!({"title": "Green tea"})).await,
        "task claimed" | "task claimed again" => return step(&bob, "claim").await,
        "task submitted" => return step(&bob, "submit").await,
        "task rejected" => return step(&ada, "reject").await,
        "task cancelled" => return step(&ada, "cancel").await,
        "task deleted" => return drop(ada.delete(&first_task().await).await.expect(204)),
        "task approved" => {
            create_task(&ada, json!({"title": "Bread"})).await;
            step(&ada, "claim").await;
            step(&ada, "submit").await;
            return step(&ada, "approve").await;
        }
        "assignee removed" => return drop(client.delete("/v1/circles/c/members/bob").await.expect(204)),
        "member leaves" => {
            client.put("/v1/circles/c/members/eve", json!({"role": "reader"})).await.expect(201);
            return drop(client.acting_as("eve").delete("/v1/circles/c/members/eve").await.expect(204));
        }
        "remembered into the circle" => {
            let memory = json!({"content": "Sugar is in the jar.", "key": "sugar", "circles": ["c"]});
            return drop(ada.remember_as("ada", memory).await);
        }
        "shared" => {
            let tea = ada.remember_as("ada", json!({"content": "Tea is in the tin.", "key": "tea"})).await;
            let shared = ada.put_nothing(&path_in(&tea, "c")).await;
            assert!(shared.status < 300, "{}", shared.text);
            return;
        }
        "edited" => ada.patch(&path_of(&memory("tea").await), json!({"tags": ["green"]})).await,
        "replaced by its key" => {
            ada.post("/v1/agents/ada/remember", json!({"content": "Tea is out.", "key": "tea"})).await
        }
        "unshared" => return drop(ada.delete(&path_in(&memory("tea").await, "c")).await.expect(204)),
        "forgotten" => return drop(ada.delete(&path_of(&memory("sugar").await)).await.expect(204)),
        "forgotten by filter" => {
            ada.remember_as("ada", json!({"content": "Salt is in the cellar.", "key": "salt", "circles": ["c"]})).await;
            ada.post("/v1/agents/ada/forget", json!({"filter": {"key": "salt"}})).await
        }
        "member erased" => {
            client.put("/v1/circles/c/members/mal", json!({"role": "editor"})).await.expect(201);
            client.delete("/v1/agents/mal").await
        }
        "recreated" => {
            client.delete("/v1/circles/c").await.expect(200);
            return drop(ada.put("/v1/circles/c", json!({"name": "Kitchen"})).await.expect(201));
        }
        other => panic!("{other}"),
    };
    done.expect(200);
}

/// Asks until both servers answer from their caches.
pub async fn warm(pair: &Pair) -> Value {
    for client in [&pair.tenant.client, &pair.other()] {
        context(client, "c").await;
        let again = context(client, "c").await;
        assert!(source(&again).starts_with("hit"), "{}", source(&again));
    }
    lasting(&context(&pair.tenant, "c").await)
}

/// Both servers answer as if there were no cache. Returns what they answer.
async fn assert_fresh(pair: &Pair, what: &str) -> Value {
    let truth = pair.tenant.get("/v1/circles/c/context?cache=bypass").await;
    for client in [&pair.tenant.client, &pair.other()] {
        for _ in 0..2 {
            let answer = context(client, "c").await;
            assert_eq!(lasting(&answer), lasting(&truth), "{what}: {}", source(&answer));
        }
    }
    lasting(&truth)
}

async fn make_all_changes(pair: &Pair) {
    circle_of(&pair.tenant, "c", &[("ada", "owner")]).await;
    for (number, what) in CHANGES.into_iter().enumerate() {
        let before = warm(pair).await;
        let client = if number % 2 == 0 { pair.other() } else { pair.tenant.client.clone() };
        change(&client, what).await;
        let after = assert_fresh(pair, what).await;
        assert_ne!(before, after, "{what} does not show");
    }
}

/// Events would clear away what is stale before anyone could take it.
#[tokio::test(flavor = "multi_thread")]
async fn every_change_shows_in_the_next_context_on_every_instance_and_without_any_event() {
    let pair = Pair::start().await;
    for app in [&pair.here, &pair.there] {
        app.app.bus.close();
    }
    make_all_changes(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_shows_in_the_next_context_while_redis_is_down() {
    let pair = Pair::start_with(|config| config.cache.redis_deadline_ms = 25).await;
    pair.redis.kill();
    make_all_changes(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_is_not_taken_after_a_shared_memory_has_expired() {
    const SOON: Duration = Duration::from_secs(6);
    let pair = Pair::start().await;
    circle_of(&pair.tenant, "c", &[("ada", "owner")]).await;
    let soon = time::OffsetDateTime::now_utc() + SOON;
    let soon = soon.format(&time::format_description::well_known::Rfc3339).expect("a time");
    let memory = json!({"content": "A kettle for a moment.", "expires_at": soon, "circles": ["c"]});
    pair.tenant.acting_as("ada").remember_as("ada", memory).await;
    assert_eq!(warm(&pair).await["memories"]["count"], 1);
    tokio::time::sleep(SOON).await;
    let after = assert_fresh(&pair, "an expiry").await;
    assert_eq!(after["memories"], json!({"count": 0, "recent": []}));
}
