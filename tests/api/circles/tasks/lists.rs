//! Finding tasks: in what order, in which pages, and in which circle.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Crew, TASKS, ask_at, path};
use crate::circles::circle_of;

/// What a walk through a list finds, page by page.
async fn walk(crew: &Crew, agent: &str, list: &str) -> Vec<Value> {
    let (mut items, mut next) = (Vec::new(), String::new());
    loop {
        let page = crew.get(agent, &format!("{list}{next}")).await.expect(200);
        items.extend(page["items"].as_array().expect("items").clone());
        match page["next_cursor"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => return items,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_the_most_urgent_first_and_of_those_the_oldest() {
    let crew = Crew::start().await;
    for (n, priority) in [5, 9, 0, 5, 9, 5, 1].into_iter().enumerate() {
        let assignee = if n % 2 == 0 { json!("bob") } else { json!(null) };
        let fields = json!({"title": format!("Task {n}"), "priority": priority, "assignee": assignee});
        let task = crew.create("ada", fields).await;
        if n == 4 {
            crew.step("bob", &path(&task), "claim").await.expect(200);
        }
    }
    let titles = async |agent: &'static str, query: &str| -> String {
        let tasks = walk(&crew, agent, &format!("{TASKS}?limit=2{query}")).await;
        tasks.iter().map(|task| task["title"].as_str().expect("a title").replace("Task ", "")).collect()
    };
    assert_eq!(titles("rod", "").await, "1403562");
    assert_eq!(titles("-", "&state=open").await, "103562");
    assert_eq!(titles("bob", "&state=claimed").await, "4");
    assert_eq!(titles("bob", "&assignee=bob").await, "4062");
    assert_eq!(titles("bob", "&assignee=bob&state=open&priority=5").await, "0");
    assert_eq!(titles("bob", "&priority=5").await, "035");
    assert_eq!(titles("bob", "&assignee=nobody").await, "");
    assert_eq!(titles("bob", "&state=approved").await, "");
    for (query, code) in [
        ("state=done", "invalid_value"),
        ("priority=10", "out_of_range"),
        ("priority=x", "invalid_type"),
        ("assignee=-", "invalid_id"),
        ("limit=201", "out_of_range"),
        ("title=x", "unknown_field"),
        ("state=open&state=open", "duplicate_item"),
    ] {
        crew.get("bob", &format!("{TASKS}?{query}")).await.assert_problem(422, code);
    }
    let first = crew.get("bob", &format!("{TASKS}?limit=2")).await.expect(200);
    let cursor = first["next_cursor"].as_str().expect("more");
    crew.get("bob", &format!("{TASKS}?limit=2&state=open&cursor={cursor}")).await.assert_problem(400, "invalid_cursor");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_comes_in_pages() {
    let crew = Crew::start().await;
    let path = crew.task_after(&[("bob", "claim"), ("bob", "submit"), ("ada", "reject"), ("cat", "claim")]).await;
    let pages = walk(&crew, "rod", &format!("{path}/history?limit=2")).await;
    assert_eq!(pages, crew.history(&path).await);
    let states: Vec<&Value> = pages.iter().map(|one| &one["to"]).collect();
    assert_eq!(states, ["open", "claimed", "submitted", "open", "claimed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_found_in_its_own_circle_alone() {
    let crew = Crew::start().await;
    circle_of(&crew.tenant, "other", &[("ada", "owner")]).await;
    let stranger = crew.app.new_tenant().await;
    circle_of(&stranger, "crew", &[("ada", "owner")]).await;
    let task = crew.task_after(&[]).await;
    let elsewhere = task.replace("/crew/", "/other/");
    let steps = ["", "/history", "/claim", "/submit", "/approve", "/reject", "/cancel"];
    for (client, path) in [(&crew.tenant, &elsewhere), (&stranger, &task)] {
        for step in steps {
            let methods: &[Method] = match step {
                "" => &[Method::GET, Method::PATCH, Method::DELETE],
                "/history" => &[Method::GET],
                _ => &[Method::POST],
            };
            for method in methods {
                let body = (*method == Method::PATCH).then(|| json!({"title": "x"}));
                let answer = ask_at(client, "ada", method.clone(), &format!("{path}{step}"), body).await;
                answer.assert_problem(404, "not_found");
            }
        }
    }
    assert_eq!(walk(&crew, "ada", "/v1/circles/other/tasks?limit=9").await, [Value::Null; 0]);
    assert_eq!(crew.tenant.get(&task).await.expect(200)["version"], 1);
    crew.get("zoe", TASKS).await.assert_problem(404, "not_found");
    crew.get("zoe", &format!("{task}/history")).await.assert_problem(404, "not_found");
    let reader = crew.app.client(crew.tenant.id, "circles:read", None).await;
    reader.get(&task).await.expect(200);
    reader.post(TASKS, json!({"title": "x"})).await.assert_problem(403, "insufficient_scope");
}
