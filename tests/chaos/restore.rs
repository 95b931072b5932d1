//! A Postgres that is restored to an earlier moment takes what came after along, also where a cache remembers it.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::history::History;
use crate::site::{Cache, Sabotage, Site};
use crate::support::redis::Redis;

async fn remember(site: &Site, content: &str) {
    let caller = Caller::new(site.urls(), site.key.clone(), Arc::new(History::new()));
    let reply = caller
        .call(0, Method::POST, "/agents/ada/remember", json!({"content": content, "tags": ["stone"]}), None)
        .await;
    assert_eq!(reply.status, Some(201), "{}", reply.body);
}

/// The contents that a server recalls, in some order.
async fn recall(site: &Site, instance: usize) -> Vec<String> {
    let caller = Caller::new(site.urls(), site.key.clone(), Arc::new(History::new()));
    let question = json!({"query": "stone", "filter": {"tags_any": ["stone"]}});
    let reply = caller.call(instance, Method::POST, "/agents/ada/recall", question, None).await;
    assert_eq!(reply.status, Some(200), "{}", reply.body);
    let results = reply.body["results"].as_array().map(Vec::as_slice).unwrap_or_default();
    let content = |result: &Value| result["memory"]["content"].as_str().expect("content").to_owned();
    let mut contents: Vec<String> = results.iter().map(content).collect();
    contents.sort();
    contents
}

/// What is recalled after the restore, of what was written before the backup, after it, and after the restore.
async fn restored(sabotage: Sabotage) -> Vec<Vec<String>> {
    let before = Site::start(Cache::Single(Redis::start().await), sabotage).await;
    remember(&before, "A stone before the backup").await;
    let backup = before.postgres.base_backup().await;
    remember(&before, "A stone that is lost").await;
    for instance in [0, 1] {
        assert_eq!(recall(&before, instance).await.len(), 2);
    }
    let Site { instances, cache, key, database, .. } = before;
    drop(instances);
    let mut after = Site::over(backup, database, cache, sabotage).await;
    after.key = key;
    // As many changes as the lost ones.
    remember(&after, "A stone after the restore").await;
    let mut answers = Vec::new();
    for instance in [0, 1, 2] {
        answers.push(recall(&after, instance).await);
    }
    answers
}

const TRUTH: [&str; 2] = ["A stone after the restore", "A stone before the backup"];

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_never_shows_what_was_lost() {
    assert_eq!(restored(None).await, vec![TRUTH; 3]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the feature sabotage; `make chaos`"]
async fn tags_that_a_restored_database_repeats_are_noticed() {
    let answers = restored(Some("random_tag")).await;
    println!("without random_tag: {answers:?}");
    assert!(answers.iter().all(|answer| answer.contains(&"A stone that is lost".to_owned())), "{answers:?}");
}
