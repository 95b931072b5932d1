//! What requests about tasks may say, and what they come to when they are sent again.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Crew, TASKS, ask_at, path};
use crate::circles::circle_of;
use crate::harness::Answer;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_has_the_fields_of_the_contract_and_no_others() {
    let crew = Crew::start().await;
    let mut task = crew.create("bob", json!({"title": "Mend the kettle"})).await;
    for volatile in ["id", "created_at", "updated_at"] {
        assert!(task.as_object_mut().expect("a task").remove(volatile).is_some(), "{volatile}");
    }
    let plain = json!({"title": "Mend the kettle", "details": null, "state": "open", "assignee": null, "priority": 5,
        "result": null, "reason": null, "version": 1});
    assert_eq!(task, plain);
    let full = json!({"title": "T\u{e9}", "details": "🫖\n\u{202e}", "assignee": "cat", "priority": 0});
    let task = crew.create("-", full.clone()).await;
    for (name, value) in full.as_object().expect("fields") {
        assert_eq!(&task[name], value, "{name} comes back as it was sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_task_is_refused_field_by_field() {
    let crew = Crew::start().await;
    let task = crew.task_after(&[]).await;
    let refused = [
        ("title", json!("x".repeat(201)), "field_too_long"),
        ("title", json!(" \u{200b}"), "field_empty"),
        ("title", json!("a\u{0}b"), "invalid_unicode"),
        ("title", json!(null), "invalid_type"),
        ("details", json!("é".repeat(2049)), "field_too_long"),
        ("details", json!(7), "invalid_type"),
        ("priority", json!(10), "out_of_range"),
        ("priority", json!(-1), "out_of_range"),
        ("priority", json!(1.5), "out_of_range"),
        ("priority", json!("high"), "invalid_type"),
        ("assignee", json!("-"), "invalid_id"),
        ("assignee", json!("zoe"), "invalid_value"),
        ("assignee", json!("nobody"), "invalid_value"),
        ("state", json!("approved"), "unknown_field"),
    ];
    for (field, value, code) in refused {
        let mut body = json!({"title": "Mend the kettle"});
        body[field] = value.clone();
        let created = crew.ask("bob", Method::POST, TASKS, Some(body)).await.assert_problem(422, code);
        let patched = crew.patch("bob", &task, json!({field: value})).await.assert_problem(422, code);
        for problem in [created, patched] {
            assert_eq!(problem["errors"][0]["pointer"], format!("/{field}"), "{problem}");
        }
    }
    for (step, field) in [("claim", "result"), ("submit", "reason"), ("reject", "result"), ("approve", "reason")] {
        let at = format!("{task}/{step}");
        crew.ask("ada", Method::POST, &at, Some(json!({field: "x"}))).await.assert_problem(422, "unknown_field");
        let long = Some(json!({"note": "x".repeat(4097)}));
        crew.ask("ada", Method::POST, &at, long).await.assert_problem(422, "field_too_long");
    }
    crew.get("bob", &format!("{TASKS}/7")).await.assert_problem(422, "invalid_id");
    let most = json!({"title": "x".repeat(200), "details": "é".repeat(2048), "priority": 9});
    crew.create("bob", most).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_changes_what_it_names_and_nothing_else() {
    let crew = Crew::start().await;
    let fields = json!({"title": "Mend it", "details": "It leaks.", "assignee": "cat", "priority": 1});
    let before = crew.create("ada", fields).await;
    let path = path(&before);
    let mut expected = before.clone();
    let patches = [
        json!({"priority": 8}),
        json!({"details": null, "assignee": null}),
        json!({"priority": null, "title": "Mend"}),
    ];
    for (patch, version) in patches.into_iter().zip(2..) {
        for (name, value) in patch.as_object().expect("fields") {
            expected[name] = if name == "priority" && value.is_null() { json!(5) } else { value.clone() };
        }
        let after = crew.patch("bob", &path, patch).await.expect(200);
        (expected["version"], expected["updated_at"]) = (json!(version), after["updated_at"].clone());
        assert_eq!(after, expected);
    }
    let stamps = crew.stamps().await;
    assert_eq!(crew.patch("bob", &path, json!({"title": "Mend"})).await.expect(200), expected);
    assert_eq!(crew.patch("bob", &path, json!({})).await.expect(200), expected);
    assert_eq!((crew.stamps().await, crew.noted("task.updated").await), (stamps, 3), "nothing has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_condition_happens_to_the_version_that_was_read() {
    let crew = Crew::start().await;
    let path = crew.task_after(&[]).await;
    let tag = crew.get("bob", &path).await.header("etag").to_owned();
    let send = async |method: Method, tag: &str| {
        let request = crew.tenant.request(method, &path).header("if-match", tag);
        crew.tenant.send(request.json(&json!({"priority": 7}))).await
    };
    let claimed = crew.step("bob", &path, "claim").await;
    assert_ne!(claimed.header("etag"), tag, "a move makes a version");
    send(Method::PATCH, &tag).await.assert_problem(412, "precondition_failed");
    send(Method::DELETE, &tag).await.assert_problem(412, "precondition_failed");
    let patched = send(Method::PATCH, claimed.header("etag")).await;
    assert_eq!(patched.expect(200)["priority"], 7);
    send(Method::DELETE, patched.header("etag")).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_sent_again_has_one_effect() {
    let crew = Crew::start().await;
    let path = path(&crew.create("ada", json!({"title": "Mend it"})).await);
    let twice = async |agent: &str, method: Method, path: &str, body: Value| -> [Answer; 2] {
        let send = async || {
            let request = crew.tenant.request(method.clone(), path).header("cairn-agent", agent);
            let key = format!("{agent} {path}");
            crew.tenant.send(request.header("idempotency-key", key).json(&body)).await
        };
        [send().await, send().await]
    };
    let writes = [
        ("bob", Method::POST, TASKS.to_owned(), 201),
        ("bob", Method::PATCH, path.clone(), 200),
        ("bob", Method::POST, format!("{path}/claim"), 200),
        ("bob", Method::POST, format!("{path}/submit"), 200),
        ("ada", Method::POST, format!("{path}/reject"), 200),
        ("cat", Method::POST, format!("{path}/cancel"), 200),
        ("ada", Method::DELETE, path.clone(), 204),
    ];
    for (agent, method, path, status) in writes {
        let body =
            if path.ends_with("tasks") || method == Method::PATCH { json!({"title": "Mend"}) } else { json!({}) };
        let before = crew.stamps().await;
        let [first, again] = twice(agent, method.clone(), &path, body).await;
        assert_eq!((first.status, again.status), (status, status), "{method} {path}: {} {}", first.text, again.text);
        assert_eq!(first.text, again.text, "{method} {path}");
        assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
        let after = crew.stamps().await;
        assert_eq!(after.0, before.0, "{method} {path}: recalls stay as fresh as they are");
        assert_ne!(after.1, before.1, "{method} {path}: the context does not");
    }
    let noted = async |event: &str| crew.noted(event).await;
    for event in ["updated", "claimed", "submitted", "rejected", "cancelled", "deleted"] {
        assert_eq!(noted(&format!("task.{event}")).await, 1, "{event}");
    }
    let [gone, _] = twice("bob", Method::POST, &format!("{path}/claim"), json!({})).await;
    gone.assert_problem(410, "gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_claim_that_is_sent_again_may_win() {
    let crew = Crew::start().await;
    let path = crew.task_after(&[("bob", "claim")]).await;
    let claim = async || {
        let request = crew.tenant.request(Method::POST, &format!("{path}/claim"));
        crew.tenant.send(request.header("cairn-agent", "cat").header("idempotency-key", "once")).await
    };
    claim().await.assert_problem(409, "wrong_state");
    claim().await.assert_problem(409, "wrong_state");
    assert_eq!(crew.noted("task.claim_lost").await, 2, "each was tried");
    crew.step("bob", &path, "submit").await.expect(200);
    crew.step("ada", &path, "reject").await.expect(200);
    assert_eq!(claim().await.expect(200)["assignee"], "cat");
    assert_eq!(claim().await.header("idempotency-replayed"), "true");
}

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
