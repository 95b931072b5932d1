//! What becomes of an agent's tasks when it goes, or may only read.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Crew, path};

const BOB: &str = "/v1/circles/crew/members/bob";

/// A task of bob's in every state that he can be named in: open for him, claimed, submitted, approved.
async fn tasks_of_bob(crew: &Crew) -> [String; 4] {
    [
        path(&crew.create("ada", json!({"title": "Bob's", "assignee": "bob"})).await),
        crew.task_after(&[("bob", "claim")]).await,
        crew.task_after(&[("bob", "claim"), ("bob", "submit")]).await,
        crew.task_after(&[("bob", "claim"), ("bob", "submit"), ("ada", "approve")]).await,
    ]
}

/// State, assignee and version of each.
async fn standings(crew: &Crew, tasks: &[String]) -> Vec<Value> {
    let mut standings = Vec::new();
    for path in tasks {
        let task = crew.tenant.get(path).await.expect(200);
        standings.push(json!([task["state"], task["assignee"], task["version"]]));
    }
    standings
}

/// Who took the task from its assignee, and why.
async fn reopening(crew: &Crew, path: &str) -> Value {
    let history = crew.history(path).await;
    let last = history.last().expect("moves");
    json!([last["agent_id"], last["from"], last["to"], last["note"]])
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_leaves_open_what_it_had_claimed() {
    let crew = Crew::start().await;
    let tasks = tasks_of_bob(&crew).await;
    let cats = crew.task_after(&[("cat", "claim")]).await;
    let stamps = crew.stamps().await;
    crew.ask("ada", Method::DELETE, BOB, None).await.expect(204);

    let expected = [
        json!(["open", null, 2]),
        json!(["open", null, 3]),
        json!(["submitted", "bob", 3]),
        json!(["approved", "bob", 4]),
    ];
    assert_eq!(standings(&crew, &tasks).await, expected);
    assert_eq!(crew.tenant.get(&cats).await.expect(200)["assignee"], "cat");
    let told = json!(["ada", "claimed", "open", "the assignee left the circle"]);
    assert_eq!(reopening(&crew, &tasks[1]).await, told);
    assert_eq!(crew.history(&tasks[0]).await.len(), 1, "what stays open has not moved");
    assert_eq!((crew.noted("task.reopened").await, crew.noted("task.updated").await), (1, 1));
    let after = crew.stamps().await;
    assert!(after.0 == stamps.0 && after.1 != stamps.1, "the board has changed, the content has not");
    crew.step("cat", &tasks[0], "claim").await.expect(200);
    crew.step("cat", &tasks[1], "claim").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_by_itself_leaves_its_tasks_too() {
    let crew = Crew::start().await;
    let task = crew.task_after(&[("bob", "claim")]).await;
    crew.ask("bob", Method::DELETE, BOB, None).await.expect(204);
    let told = json!(["bob", "claimed", "open", "the assignee left the circle"]);
    assert_eq!(reopening(&crew, &task).await, told);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_keeps_what_waits_for_it() {
    let crew = Crew::start().await;
    let tasks = tasks_of_bob(&crew).await;
    let demote = async |role: &str| crew.ask("-", Method::PUT, BOB, Some(json!({"role": role}))).await.expect(200);
    demote("owner").await;
    assert_eq!(crew.tenant.get(&tasks[1]).await.expect(200)["state"], "claimed", "an owner goes on");
    demote("reader").await;
    let expected = [json!(["open", "bob", 1]), json!(["open", null, 3])];
    assert_eq!(standings(&crew, &tasks[..2]).await, expected);
    let told = json!([null, "claimed", "open", "the assignee may only read here now"]);
    assert_eq!(reopening(&crew, &tasks[1]).await, told);
    crew.step("bob", &tasks[0], "claim").await.assert_problem(403, "role_required");
    demote("editor").await;
    crew.step("bob", &tasks[0], "claim").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_erased_is_named_by_no_task() {
    let crew = Crew::start().await;
    let tasks = tasks_of_bob(&crew).await;
    let stamps = crew.stamps().await;
    crew.tenant.delete("/v1/agents/bob").await.expect(200);
    let expected = [
        json!(["open", null, 2]),
        json!(["open", null, 3]),
        json!(["submitted", null, 4]),
        json!(["approved", null, 5]),
    ];
    assert_eq!(standings(&crew, &tasks).await, expected);
    let told = json!([null, "claimed", "open", "the assignee is gone"]);
    assert_eq!(reopening(&crew, &tasks[1]).await, told);
    assert_eq!(crew.history(&tasks[1]).await[1]["agent_id"], "bob", "that it was there is kept by name");
    assert_ne!(crew.stamps().await.1, stamps.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_go_with_their_circle() {
    let crew = Crew::start().await;
    let tasks = tasks_of_bob(&crew).await;
    let receipt = crew.ask("ada", Method::DELETE, "/v1/circles/crew", None).await.expect(200);
    assert_eq!(receipt["tasks"], 4);
    crew.tenant.get(&tasks[0]).await.assert_problem(404, "not_found");
    let left = "SELECT (SELECT count(*) FROM tasks) + (SELECT count(*) FROM task_moves)";
    let left: i64 =
        sqlx::query_scalar(left).fetch_one(&mut crew.app.database.superuser().await).await.expect("a count");
    assert_eq!(left, 0);
}
