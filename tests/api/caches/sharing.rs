//! Cached answers and sharing: each change of what a circle sees shows in the very next recall of every member, on every
//! instance, whatever was cached.

use serde_json::{Value, json};

use super::{Pair, ask, kettle, source};
use crate::circles::{circle_of, path_in, path_of};
use crate::harness::Client;

const MEMBERS: [&str; 3] = ["ada", "bob", "eve"];

/// The contents that each member gets of the circle at either server, and how; twice, so that the second is cached.
async fn seen(pair: &Pair, question: &Value) -> Vec<Vec<String>> {
    let other = pair.other();
    let clients: [&Client; 2] = [&pair.tenant, &other];
    let mut seen = Vec::new();
    for member in MEMBERS {
        for client in clients {
            let first = ask(client, member, question.clone()).await.json();
            let again = ask(client, member, question.clone()).await;
            assert!(source(&again).starts_with("hit"), "{}", source(&again));
            assert_eq!(again.json(), first);
            let results = first["results"].as_array().expect("results").iter();
            let text = |result: &Value| result["memory"]["content"].as_str().expect("content").to_owned();
            seen.push(results.map(text).collect());
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_what_is_shared_shows_at_once_to_every_member_everywhere() {
    let pair = Pair::start().await;
    circle_of(&pair.tenant, "c", &[("ada", "editor"), ("bob", "owner"), ("eve", "reader")]).await;
    circle_of(&pair.tenant, "d", &[("ada", "editor"), ("eve", "reader")]).await;
    let memory = pair.tenant.remember_as("ada", json!({"content": "one kettle", "key": "k"})).await;
    let (here, there) = (&pair.tenant.client, pair.other());
    let question = json!({"query": "kettle", "within": {"circles": ["c"]}});
    let everyone = |content: &str| vec![vec![content.to_owned()]; 6];
    let nobody = vec![Vec::<String>::new(); 6];
    assert_eq!(seen(&pair, &question).await, nobody);

    there.put_nothing(&path_in(&memory, "c")).await.expect(201);
    assert_eq!(seen(&pair, &question).await, everyone("one kettle"), "share");
    here.patch(&path_of(&memory), json!({"content": "two kettles"})).await.expect(200);
    assert_eq!(seen(&pair, &question).await, everyone("two kettles"), "edit");
    there.patch(&path_of(&memory), json!({"circles": ["d"]})).await.expect(200);
    assert_eq!(seen(&pair, &question).await, nobody, "other circles");
    let replace = json!({"content": "three kettles", "key": "k", "circles": ["c", "d"]});
    here.post("/v1/agents/ada/remember", replace).await.expect(200);
    assert_eq!(seen(&pair, &question).await, everyone("three kettles"), "a key with circles");
    there.delete(&path_in(&memory, "c")).await.expect(204);
    assert_eq!(seen(&pair, &question).await, nobody, "unshare");
    here.post("/v1/agents/ada/remember", json!({"content": "three kettles", "circles": ["c"]})).await.expect(200);
    assert_eq!(seen(&pair, &question).await, everyone("three kettles"), "equal content");
    there.delete(&path_of(&memory)).await.expect(204);
    assert_eq!(seen(&pair, &question).await, nobody, "forget");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_with_its_shares_takes_them_out_of_every_cached_answer() {
    let pair = Pair::start().await;
    circle_of(&pair.tenant, "c", &[("ada", "editor"), ("bob", "owner"), ("eve", "reader")]).await;
    for content in ["one kettle", "another kettle"] {
        pair.tenant.remember_as("ada", json!({"content": content, "circles": ["c"]})).await;
    }
    pair.tenant.remember_as("bob", json!({"content": "Bob's kettle", "circles": ["c"]})).await;
    let count = async |client: &Client, agent: &str| {
        ask(client, agent, kettle()).await.json()["results"].as_array().map_or(0, Vec::len)
    };
    assert!(seen(&pair, &kettle()).await.iter().all(|results| results.len() == 3));
    let there = pair.other();
    there.delete("/v1/circles/c/members/ada?unshare=true").await.expect(204);
    for client in [&pair.tenant.client, &there] {
        assert_eq!((count(client, "ada").await, count(client, "bob").await, count(client, "eve").await), (2, 1, 1));
    }
    there.delete("/v1/circles/c").await.expect(200);
    for client in [&pair.tenant.client, &there] {
        assert_eq!((count(client, "ada").await, count(client, "bob").await, count(client, "eve").await), (2, 1, 0));
    }
}
