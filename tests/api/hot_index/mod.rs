//! Recall in memory: that it answers as Postgres does and as a comparison of everything with everything would,
//! whatever happened before, and that no answer is older than what was acknowledged.

mod brute;
mod freshness;
mod histories;

use serde_json::{Value, json};

use crate::harness::{Client, Tenant, TestApp};

/// An instance that never holds a scope in memory.
async fn without_index(app: &TestApp) -> TestApp {
    app.sibling_with(|config| config.recall.hot_index_mb = 0).await
}

/// What is found, computed anew, with all that explains it.
async fn computed(client: &Client, agent: &str, mut request: Value) -> Value {
    request["cache"] = json!("bypass");
    request["explain"] = json!(true);
    client.recall(agent, request).await
}

/// Ids and scores, in order.
fn scored(answer: &Value) -> Vec<(String, f64)> {
    let results = answer["results"].as_array().expect("results").iter();
    let id = |result: &Value| result["memory"]["id"].as_str().expect("an id").to_owned();
    results.map(|result| (id(result), result["score"].as_f64().expect("a score"))).collect()
}

fn assert_alike(one: &Value, other: &Value, what: &str) {
    let (one, other) = (scored(one), scored(other));
    let ids = |scored: &[(String, f64)]| scored.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&one), ids(&other), "{what}");
    let near = one.iter().zip(&other).all(|((_, a), (_, b))| (a - b).abs() < 1e-5);
    assert!(near, "{what}: {one:?} and {other:?}");
}

fn path(answer: &Value) -> &str {
    answer["path"].as_str().expect("a path")
}

/// The tenant's client, at another instance.
fn at(tenant: &Tenant, app: &TestApp) -> Client {
    tenant.client.at(app.url())
}
