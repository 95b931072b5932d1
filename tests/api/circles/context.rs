//! The context of a circle: one document of one moment, cached, and never stale.

use std::time::Duration;

use deadpool_redis::redis::cmd;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::caches::{Pair, source};
use crate::circles::{circle_of, path_in, path_of};
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
async fn a_context_comes_from_the_nearest_cache_byte_for_byte() {
    let pair = Pair::start().await;
    circle_of(&pair.tenant, "c", &[("ada", "owner"), ("bob", "reader")]).await;
    create_task(&pair.tenant, json!({"title": "The copper kettle leaks."})).await;
    let first = context(&pair.tenant.acting_as("ada"), "c").await;
    assert_eq!(source(&first), "miss");
    let keys = pair.wait_for_keys("circle:", 1).await;
    assert_eq!(keys, [format!("cairn:{}:circle:c:ctx", pair.tenant.id)]);
    let (here, there) = (&pair.tenant, pair.other());
    for (client, expected) in [
        (here.acting_as("bob"), "hit local"),
        (there.acting_as("bob"), "hit redis"),
        (there.clone(), "hit local"),
        (here.client.clone(), "hit local"),
    ] {
        let again = context(&client, "c").await;
        assert_eq!((source(&again).as_str(), &again.text), (expected, &first.text), "the same for whoever asks");
        assert_eq!(again.header("content-type"), first.header("content-type"));
        let stages = again.header("server-timing");
        assert!(["gate", "cache", "search", "total"].iter().all(|stage| stages.contains(stage)), "{stages}");
    }
    let ttl: i64 = pair.redis.ask(cmd("PTTL").arg(&keys[0])).await.expect("a time");
    assert!((530_000..=660_000).contains(&ttl), "{ttl} ms");
    let held: Vec<u8> = pair.redis.ask(cmd("GET").arg(&keys[0])).await.expect("a value");
    assert!(!String::from_utf8_lossy(&held).contains("copper"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_chooses_what_becomes_of_the_cache() {
    let pair = Pair::start().await;
    circle_of(&pair.tenant, "c", &[("ada", "owner")]).await;
    let with = async |query: &str| {
        let answer = pair.tenant.get(&format!("/v1/circles/c/context{query}")).await;
        (answer.status, source(&answer), answer.text)
    };
    assert_eq!(with("?cache=bypass").await.1, "bypass");
    let (_, first, before) = with("?cache=use").await;
    assert_eq!(first, "miss", "bypass stored nothing");
    let (_, again, same) = with("").await;
    assert_eq!((again.as_str(), same), ("hit local", before.clone()));
    let (_, refreshed, after) = with("?cache=refresh").await;
    assert_eq!(refreshed, "miss");
    assert_ne!(before, after, "as of another moment");
    assert_eq!(with("").await.2, after);
    for (query, code, pointer) in [
        ("?cache=always", "invalid_value", "/cache"),
        ("?cache=", "invalid_value", "/cache"),
        ("?cache=use&cache=use", "duplicate_item", "/cache"),
        ("?limit=1", "unknown_field", "/limit"),
    ] {
        let problem = pair.tenant.get(&format!("/v1/circles/c/context{query}")).await.assert_problem(422, code);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{query}");
    }
}

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
async fn warm(pair: &Pair) -> Value {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_context_is_for_members_from_the_very_next_call_on() {
    let pair = Pair::start().await;
    circle_of(&pair.tenant, "c", &[("ada", "owner"), ("bob", "reader")]).await;
    warm(&pair).await;
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
    warm(&pair).await;
    for client in [&pair.tenant.client, &other] {
        client.acting_as("bob").get("/v1/circles/c/context").await.assert_problem(404, "not_found");
    }
    let writer = pair.here.client(pair.tenant.id, "circles:manage,memories:read", None).await;
    writer.get("/v1/circles/c/context").await.assert_problem(403, "insufficient_scope");
}

#[tokio::test(flavor = "multi_thread")]
async fn flushing_the_context_of_one_circle_leaves_the_others_and_the_recalls() {
    let pair = Pair::start().await;
    for circle in ["c", "d"] {
        circle_of(&pair.tenant, circle, &[("ada", "owner")]).await;
    }
    let question = json!({"query": "kettle"});
    let other = pair.other();
    let sources = async || {
        let recalled = other.post("/v1/circles/c/recall", question.clone()).await;
        let (c, d) = (context(&other, "c").await, context(&other, "d").await);
        [source(&c), source(&d), source(&recalled)].map(|source| source.starts_with("hit"))
    };
    for (what, hit) in [
        (json!({"kinds": ["circle"], "circle_id": "c"}), [false, true, true]),
        (json!({"kinds": ["recall"], "circle_id": "c"}), [false, true, false]),
        (json!({"kinds": ["recall", "circle"], "circle_id": "d"}), [true, false, true]),
    ] {
        sources().await;
        assert_eq!(sources().await, [true; 3]);
        pair.tenant.post("/v1/cache/flush", what.clone()).await.expect(200);
        assert_eq!(sources().await, hit, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_under_the_name_of_another_context_is_never_an_answer() {
    let pair = Pair::start().await;
    for circle in ["c", "d"] {
        circle_of(&pair.tenant, circle, &[("ada", "owner")]).await;
        context(&pair.tenant, circle).await;
    }
    let name = |circle: &str| format!("cairn:{}:circle:{circle}:ctx", pair.tenant.id);
    pair.wait_for_keys("circle:", 2).await;
    let own: Vec<u8> = pair.redis.ask(cmd("GET").arg(name("c"))).await.expect("a value");
    let foreign: Vec<u8> = pair.redis.ask(cmd("GET").arg(name("d"))).await.expect("a value");
    for forged in [foreign, own[..own.len() - 1].to_vec(), b"{}".to_vec()] {
        let () = pair.redis.ask(cmd("SET").arg(name("c")).arg(forged)).await.expect("set");
        let app = pair.here.sibling_through(pair.here.database.options(), |config| {
            config.cache.redis_url = Some(pair.redis.url());
            config.cache.redis_deadline_ms = 1_000;
        });
        let answer = context(&pair.tenant.at(app.await.url()), "c").await;
        assert_eq!((source(&answer).as_str(), &answer.json()["circle"]["id"]), ("miss", &json!("c")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_is_wrong_would_be_noticed() {
    let app = TestApp::start_with(|config| config.cache.verify_one_in = 1).await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "owner")]).await;
    create_task(&tenant, json!({"title": "Tea"})).await;
    let mismatches = async || {
        let metrics = app.stranger().get("/metrics").await.text;
        let line = metrics.lines().find_map(|line| line.strip_prefix("cairn_cache_mismatch_total "));
        line.and_then(|count| count.parse::<u64>().ok()).expect("a number")
    };
    for _ in 0..5 {
        context(&tenant, "c").await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(mismatches().await, 0, "another moment is no difference");

    // Somebody goes behind the server's back.
    let sql = format!("UPDATE tasks SET title = 'Not tea' WHERE tenant_id = '{}'", tenant.id);
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut app.database.superuser().await).await.expect("corrupted");
    for _ in 0..100 {
        assert!(source(&context(&tenant, "c").await).starts_with("hit"));
        tokio::time::sleep(Duration::from_millis(50)).await;
        if mismatches().await > 0 {
            return;
        }
    }
    panic!("nobody noticed");
}
