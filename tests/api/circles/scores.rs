//! Ranking treats scopes alike: where a memory is found says nothing about how well it fits.

use serde_json::{Value, json};

use crate::circles::circle_of;
use crate::harness::TestApp;

/// What was found with its scores, and by which ways.
fn found(answer: &Value) -> (Vec<(String, f64)>, Vec<Value>) {
    let results = answer["results"].as_array().expect("results");
    let scored = |result: &Value| {
        (result["memory"]["id"].as_str().expect("an id").to_owned(), result["score"].as_f64().expect("a score"))
    };
    (results.iter().map(scored).collect(), results.iter().map(|result| result["via"].clone()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_scores_alike_wherever_it_is_found_and_comes_up_once() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    for circle in ["c", "d"] {
        circle_of(&tenant, circle, &[("ada", "editor"), ("eve", "reader")]).await;
    }
    let long = format!("a kettle and {}", "a door and a window and a lamp and ".repeat(300));
    let contents =
        ["The kettle is broken.", "The green kettle was bought in Leeds.", "Nobody waters the plants.", &long];
    for (index, content) in contents.iter().enumerate() {
        let memory = json!({"content": content, "importance": 0.2 * index as f64, "circles": ["c", "d"]});
        tenant.remember_as("ada", memory).await;
    }
    for mode in ["hybrid", "semantic", "lexical"] {
        let ask = async |agent: &str, within: Value| {
            found(&tenant.recall(agent, json!({"query": "a broken kettle", "mode": mode, "within": within})).await)
        };
        let (private, via) = ask("ada", json!("private")).await;
        assert!(private.len() >= 3 && via.iter().all(|via| *via == json!({"type": "agent", "id": "ada"})), "{mode}");
        for circle in ["c", "d"] {
            for agent in ["ada", "eve"] {
                let (scored, via) = ask(agent, json!({"circles": [circle]})).await;
                assert_eq!(scored, private, "{mode}, {agent} in {circle}");
                assert!(via.iter().all(|via| *via == json!({"type": "circle", "id": circle})), "{via:?}");
            }
        }
        for (agent, within) in [("ada", json!("all")), ("eve", json!("all")), ("eve", json!({"circles": ["d", "c"]}))] {
            assert_eq!(ask(agent, within.clone()).await.0, private, "{mode}, {agent} within {within}: each once");
        }
        assert_eq!(ask("ada", json!("all")).await.1[0]["type"], "agent", "the nearest way comes first");
        assert_eq!(ask("eve", json!("private")).await.0, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_several_shared_is_ranked_as_if_one_had() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "editor"), ("bob", "editor"), ("eve", "reader")]).await;
    let contents = ["kettle kettle kettle", "kettle and door", "door", "kettle"];
    for (index, content) in contents.into_iter().enumerate() {
        let (shared, own) = (json!({"content": content, "circles": ["c"]}), json!({"content": content}));
        tenant.remember_as(["ada", "bob"][index % 2], shared).await;
        tenant.remember_as("one", own).await;
    }
    let texts = async |agent: &str| {
        let answer = tenant.recall(agent, json!({"query": "kettle", "mode": "lexical", "explain": true})).await;
        let results = answer["results"].as_array().expect("results").clone();
        results
            .into_iter()
            .map(|result| {
                (result["memory"]["content"].clone(), result["explain"]["lexical"].as_f64().expect("a score"))
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(texts("eve").await, texts("one").await);
}
