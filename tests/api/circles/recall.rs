//! Recall from a circle: the same answer for everyone in it, cached once, and never stale.

use std::time::Duration;

use serde_json::{Value, json};

use crate::caches::{Pair, ask, source};
use crate::circles::{circle_of, path_in, path_of};
use crate::harness::{Answer, Client, TestApp};

async fn ask_circle(client: &Client, circle: &str, question: &Value) -> Answer {
    let answer = client.post(&format!("/v1/circles/{circle}/recall"), question.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer
}

fn kettle() -> Value {
    json!({"query": "where is the kettle", "k": 50})
}

fn with(question: &Value, name: &str, value: Value) -> Value {
    let mut question = question.clone();
    question[name] = value;
    question
}

/// Two agents that share two memories each and keep one each to themselves.
async fn shared_kitchen(client: &Client, circle: &str) -> Vec<Value> {
    let mut memories = Vec::new();
    for agent in ["ada", "bob"] {
        client.remember(agent, &format!("{agent}'s own kettle is secret.")).await;
        for place in ["kitchen", "shed"] {
            let memory = json!({"content": format!("The kettle of {agent} is in the {place}."), "tags": [place], "circles": [circle]});
            memories.push(client.acting_as(agent).remember_as(agent, memory).await);
        }
    }
    memories
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_answers_as_its_members_are_answered_within_it() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "editor"), ("bob", "editor"), ("eve", "reader")]).await;
    shared_kitchen(&tenant, "c").await;
    for question in [
        kettle(),
        with(&kettle(), "mode", json!("lexical")),
        with(&kettle(), "mode", json!("semantic")),
        with(&kettle(), "filter", json!({"tags_any": ["shed"], "agent_ids": ["bob"]})),
        with(&kettle(), "explain", json!(true)),
        with(&kettle(), "k", json!(1)),
        with(&kettle(), "token_budget", json!(20)),
        with(&kettle(), "min_score", json!(0.4)),
    ] {
        let answer = ask_circle(&tenant.acting_as("eve"), "c", &question).await;
        assert_eq!(ask_circle(&tenant, "c", &question).await.text, answer.text, "a back end asks like a member");
        for agent in ["ada", "eve"] {
            let within = with(&question, "within", json!({"circles": ["c"]}));
            assert_eq!(ask(&tenant, agent, within).await.text, answer.text, "{question}");
        }
    }
    let answer = ask_circle(&tenant, "c", &kettle()).await.json();
    let results = answer["results"].as_array().expect("results");
    assert_eq!(results.len(), 4, "{answer}");
    for result in results {
        assert_eq!(result["via"], json!({"type": "circle", "id": "c"}));
        assert_eq!(result["memory"]["circles"], json!(["c"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_entry_serves_whoever_may_ask() {
    let pair = Pair::start().await;
    circle_of(&pair.tenant, "c", &[("ada", "owner"), ("bob", "editor"), ("eve", "reader")]).await;
    shared_kitchen(&pair.tenant, "c").await;
    let first = ask_circle(&pair.tenant.acting_as("ada"), "c", &kettle()).await;
    assert_eq!(source(&first), "miss");
    pair.wait_for_keys("rag:circle:c:", 1).await;
    let bound = pair.there.client(pair.tenant.id, "circles:read", Some("eve")).await;
    let (here, there) = (&pair.tenant, pair.other());
    for (client, expected) in [
        (here.acting_as("eve"), "hit local"),
        (bound, "hit redis"),
        (there.clone(), "hit local"),
        (here.client.clone(), "hit local"),
    ] {
        let again = ask_circle(&client, "c", &kettle()).await;
        assert_eq!((source(&again).as_str(), &again.text), (expected, &first.text));
    }
    // What a member remembers for itself is none of the circle's.
    here.remember("ada", "Another kettle.").await;
    assert_eq!(source(&ask_circle(&here.acting_as("ada"), "c", &kettle()).await), "hit local");
    for (cache, expected) in [("bypass", "bypass"), ("refresh", "miss"), ("use", "hit local")] {
        let answer = ask_circle(&there, "c", &with(&kettle(), "cache", json!(cache))).await;
        assert_eq!((source(&answer).as_str(), &answer.text), (expected, &first.text));
        let stages = answer.header("server-timing");
        assert!(["gate", "cache", "embed", "search", "total"].iter().all(|stage| stages.contains(stage)), "{stages}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_a_circle_at_once_cause_one_search() {
    let app = TestApp::start_with(|config| config.database.acquire_timeout_ms = 60_000).await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "owner"), ("bob", "editor")]).await;
    shared_kitchen(&tenant, "c").await;
    let asked: Vec<_> = (0..200)
        .map(|number| {
            let client = tenant.acting_as(if number % 2 == 0 { "ada" } else { "bob" });
            tokio::spawn(async move { ask_circle(&client, "c", &kettle()).await.text })
        })
        .collect();
    let mut answers = std::collections::HashSet::new();
    for answer in asked {
        answers.insert(answer.await.expect("an answer"));
    }
    assert_eq!(answers.len(), 1);
    let stats = tenant.get("/v1/cache/stats").await.expect(200);
    let recall = &stats["kinds"][1];
    let (hits, shared) = (recall["layers"][0]["hits"].as_u64(), recall["saved"]["shared_computations"].as_u64());
    assert_eq!(hits.zip(shared).map(|(hits, shared)| hits + shared), Some(199), "one searched: {recall}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_is_asked_by_its_members_and_without_within() {
    let pair = Pair::start().await;
    circle_of(&pair.tenant, "c", &[("ada", "owner"), ("bob", "reader")]).await;
    shared_kitchen_of_one(&pair.tenant).await;
    let (tenant, other) = (&pair.tenant, pair.other());
    let path = "/v1/circles/c/recall";
    for client in [tenant.client.clone(), other.clone()] {
        ask_circle(&client.acting_as("bob"), "c", &kettle()).await;
        let stranger = client.acting_as("eve").post(path, kettle()).await.assert_problem(404, "not_found");
        let nowhere = client.acting_as("eve").post("/v1/circles/d/recall", kettle()).await;
        assert_eq!(stranger["detail"], nowhere.assert_problem(404, "not_found")["detail"]);
    }
    pair.here.new_tenant().await.post(path, kettle()).await.assert_problem(404, "not_found");
    let writer = pair.here.client(tenant.id, "memories:read,circles:manage", None).await;
    writer.post(path, kettle()).await.assert_problem(403, "insufficient_scope");
    for within in [json!("all"), json!({"circles": ["c"]}), json!(null)] {
        let refused = tenant.post(path, with(&kettle(), "within", within)).await.assert_problem(422, "unknown_field");
        assert_eq!(refused["errors"][0]["pointer"], "/within");
    }
    tenant.post(path, json!({"query": "kettle", "k": 0})).await.assert_problem(422, "out_of_range");

    other.delete("/v1/circles/c/members/bob").await.expect(204);
    assert!(source(&ask_circle(tenant, "c", &kettle()).await).starts_with("hit"), "nothing was flushed");
    for client in [&tenant.client, &other] {
        client.acting_as("bob").post(path, kettle()).await.assert_problem(404, "not_found");
    }
}

async fn shared_kitchen_of_one(client: &Client) -> Value {
    let memory = json!({"content": "The kettle is in the kitchen.", "key": "kettle", "circles": ["c"]});
    client.acting_as("ada").remember_as("ada", memory).await
}

/// Both servers answer as if there were no cache, for the circle and for a member of it.
async fn assert_fresh(pair: &Pair, what: &str) -> usize {
    let bypass = with(&kettle(), "cache", json!("bypass"));
    let of_circle = ask_circle(&pair.tenant, "c", &bypass).await;
    let of_agent = ask(&pair.tenant, "bob", bypass).await.text;
    for client in [&pair.tenant.client, &pair.other()] {
        for _ in 0..2 {
            let answer = ask_circle(client, "c", &kettle()).await;
            assert_eq!(answer.text, of_circle.text, "{what}: {}", source(&answer));
            let answer = ask(client, "bob", kettle()).await;
            assert_eq!(answer.text, of_agent, "{what}: {}", source(&answer));
        }
        assert!(source(&ask_circle(client, "c", &kettle()).await).starts_with("hit"), "{what}");
    }
    of_circle.json()["results"].as_array().expect("results").len()
}

/// Events would clear away what is stale before anyone could take it.
#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_what_is_shared_shows_at_once_on_every_instance_and_without_any_event() {
    let pair = Pair::start().await;
    for app in [&pair.here, &pair.there] {
        app.app.bus.close();
    }
    let (tenant, other) = (&pair.tenant, pair.other());
    circle_of(tenant, "c", &[("ada", "editor"), ("bob", "owner")]).await;
    let kitchen = shared_kitchen_of_one(tenant).await;
    assert_eq!(assert_fresh(&pair, "remembered into the circle").await, 1);
    let attic = tenant.remember("ada", "A second kettle is in the attic.").await;
    assert_eq!(assert_fresh(&pair, "remembered beside the circle").await, 1);
    other.acting_as("ada").put_nothing(&path_in(&attic, "c")).await.expect(201);
    assert_eq!(assert_fresh(&pair, "shared").await, 2);
    tenant.patch(&path_of(&attic), json!({"content": "The second kettle is gone."})).await.expect(200);
    assert_eq!(assert_fresh(&pair, "edited").await, 2);
    let again = json!({"content": "The kettle is in the cellar.", "key": "kettle"});
    other.post("/v1/agents/ada/remember", again).await.expect(200);
    assert_eq!(assert_fresh(&pair, "replaced by its key").await, 2);
    tenant.acting_as("bob").delete(&path_in(&attic, "c")).await.expect(204);
    assert_eq!(assert_fresh(&pair, "unshared").await, 1);
    other.delete(&path_of(&kitchen)).await.expect(204);
    assert_eq!(assert_fresh(&pair, "forgotten").await, 0);
    tenant.acting_as("ada").put_nothing(&path_in(&attic, "c")).await.expect(201);
    assert_eq!(assert_fresh(&pair, "shared again").await, 1);
    other.delete("/v1/circles/c/members/ada?unshare=true").await.expect(204);
    assert_eq!(assert_fresh(&pair, "its author removed").await, 0);
    tenant.put("/v1/circles/c/members/ada", json!({"role": "editor"})).await.expect(201);
    other.acting_as("ada").put_nothing(&path_in(&attic, "c")).await.expect(201);
    assert_eq!(assert_fresh(&pair, "shared a third time").await, 1);
    tenant.delete("/v1/agents/ada").await.expect(200);
    assert_eq!(assert_fresh(&pair, "its author erased").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_circle_never_answers_with_what_the_old_one_knew() {
    let pair = Pair::start().await;
    for app in [&pair.here, &pair.there] {
        app.app.bus.close();
    }
    let other = pair.other();
    circle_of(&pair.tenant, "c", &[("ada", "owner")]).await;
    shared_kitchen_of_one(&pair.tenant).await;
    for client in [&pair.tenant.client, &other] {
        ask_circle(client, "c", &kettle()).await;
        client.get("/v1/circles/c/context").await.expect(200);
    }
    pair.tenant.delete("/v1/circles/c").await.expect(200);
    for client in [&pair.tenant.client, &other] {
        client.post("/v1/circles/c/recall", kettle()).await.assert_problem(404, "not_found");
    }
    other.acting_as("bob").put("/v1/circles/c", json!({"name": "New"})).await.expect(201);
    for client in [&pair.tenant.client, &other] {
        let recalled = ask_circle(client, "c", &kettle()).await;
        assert_eq!(recalled.json()["results"], json!([]), "{}", source(&recalled));
        let context = client.get("/v1/circles/c/context").await.expect(200);
        assert_eq!((&context["circle"]["name"], &context["memories"]["count"]), (&json!("New"), &json!(0)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_not_taken_after_a_shared_memory_has_expired() {
    const SOON: Duration = Duration::from_secs(6);
    let pair = Pair::start().await;
    circle_of(&pair.tenant, "c", &[("ada", "owner"), ("bob", "reader")]).await;
    let soon = time::OffsetDateTime::now_utc() + SOON;
    let soon = soon.format(&time::format_description::well_known::Rfc3339).expect("a time");
    let memory = json!({"content": "A kettle for a moment.", "expires_at": soon, "circles": ["c"]});
    pair.tenant.acting_as("ada").remember_as("ada", memory).await;
    assert_eq!(assert_fresh(&pair, "before").await, 1);
    tokio::time::sleep(SOON).await;
    assert_eq!(assert_fresh(&pair, "after").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_task_board_empties_nobodys_recall_cache() {
    let pair = Pair::start().await;
    let (tenant, other) = (&pair.tenant, pair.other());
    circle_of(tenant, "c", &[("ada", "owner"), ("bob", "editor")]).await;
    let kitchen = shared_kitchen_of_one(tenant).await;
    let sources = async || {
        let mut sources = Vec::new();
        for client in [&tenant.client, &other] {
            sources.push(source(&ask_circle(client, "c", &kettle()).await));
            sources.push(source(&ask(client, "bob", kettle()).await));
        }
        sources
    };
    sources().await;
    sources().await;
    for number in 0..25 {
        let caller = if number % 2 == 0 { &tenant.client } else { &other };
        let task = caller.post("/v1/circles/c/tasks", json!({"title": "Tea"})).await.expect(201);
        let path = format!("/v1/circles/c/tasks/{}", task["id"].as_str().expect("an id"));
        for (agent, step) in [("bob", "claim"), ("bob", "submit"), ("ada", "approve")] {
            caller.acting_as(agent).post(&format!("{path}/{step}"), json!({})).await.expect(200);
            assert_eq!(sources().await, ["hit local"; 4], "change {number}, {step}");
        }
    }
    let done = tenant.get("/v1/circles/c/context").await.expect(200);
    assert_eq!(done["tasks"]["counts"]["approved"], 25, "a hundred changes were made");
    tenant.patch(&path_of(&kitchen), json!({"tags": ["warm"]})).await.expect(200);
    assert!(sources().await.iter().all(|source| !source.starts_with("hit local")), "a change of content is noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_in_which_circles_are_named_changes_nothing() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    for circle in ["c", "d"] {
        circle_of(&tenant, circle, &[("ada", "owner")]).await;
    }
    let memory = json!({"content": "The kettle is in both.", "circles": ["d", "c"]});
    tenant.acting_as("ada").remember_as("ada", memory).await;
    let within =
        |circles: Value, cache: &str| json!({"query": "kettle", "within": {"circles": circles}, "cache": cache});
    let first = ask(&tenant, "ada", within(json!(["d", "c"]), "use")).await;
    assert_eq!(first.json()["results"].as_array().map(Vec::len), Some(1), "once, however often it is shared");
    for (circles, cache) in
        [(json!(["c", "d"]), "use"), (json!(["c", "d"]), "bypass"), (json!(["d", "c", "d"]), "bypass")]
    {
        assert_eq!(ask(&tenant, "ada", within(circles, cache)).await.text, first.text);
    }
}
