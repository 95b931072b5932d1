//! A Postgres that is restored to an earlier moment takes what came after along, also where a cache remembers it.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::history::History;
use crate::site::{Cache, Settings, Site};
use crate::support::fault::Fault;
use crate::support::redis::Redis;

const QUESTION: &str = "Which stone is there?";

async fn remember(site: &Site, content: &str) {
    let caller = Caller::new(site.urls(), site.key.clone(), Arc::new(History::new()));
    let reply = caller
        .call(0, Method::POST, "/agents/ada/remember", json!({"content": content, "tags": ["stone"]}), None)
        .await;
    assert_eq!(reply.status, Some(201), "{}", reply.body);
}

/// The contents that a server recalls, in some order.
async fn recall(site: &Site, instance: usize, query: &str) -> Vec<String> {
    let caller = Caller::new(site.urls(), site.key.clone(), Arc::new(History::new()));
    let question = json!({"query": query, "filter": {"tags_any": ["stone"]}});
    let reply = caller.call(instance, Method::POST, "/agents/ada/recall", question, None).await;
    assert_eq!(reply.status, Some(200), "{}", reply.body);
    let results = reply.body["results"].as_array().map(Vec::as_slice).unwrap_or_default();
    let content = |result: &Value| result["memory"]["content"].as_str().expect("content").to_owned();
    let mut contents: Vec<String> = results.iter().map(content).collect();
    contents.sort();
    contents
}

/// What two servers recall of what was written before the backup, after it, and after the restore.
async fn restored(settings: Settings<'_>) -> Vec<Vec<String>> {
    let before = Site::start(Cache::Single(Redis::start().await), settings).await;
    remember(&before, "A stone before the backup").await;
    let backup = before.postgres.base_backup().await;
    remember(&before, "A stone that is lost").await;
    for instance in [0, 1] {
        assert_eq!(recall(&before, instance, QUESTION).await.len(), 2);
    }
    let Site { instances, cache, key, database, .. } = before;
    drop(instances);
    let mut after = Site::over(backup, database, cache, settings).await;
    after.key = key;
    // As many changes as the lost ones, and whoever makes them cannot tell Redis.
    let way = after.instances[0].redis.as_ref().expect("a single Redis");
    way.set(Fault::Refuse);
    remember(&after, "A stone after the restore").await;
    let mut answers = Vec::new();
    for instance in [1, 2] {
        // A new server may have no connection to Redis before it has asked a few times.
        for number in 0..20 {
            recall(&after, instance, &format!("{QUESTION} {number}")).await;
        }
        answers.push(recall(&after, instance, QUESTION).await);
    }
    answers
}

const TRUTH: [&str; 2] = ["A stone after the restore", "A stone before the backup"];

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_never_shows_what_was_lost() {
    assert_eq!(restored(&[]).await, vec![TRUTH; 2]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the feature sabotage; `make chaos`"]
async fn tags_that_a_restored_database_repeats_are_noticed() {
    let answers = restored(&[("CAIRN_SABOTAGE", "random_tag")]).await;
    println!("without random_tag: {answers:?}");
    assert!(answers.iter().all(|answer| answer.contains(&"A stone that is lost".to_owned())), "{answers:?}");
}
