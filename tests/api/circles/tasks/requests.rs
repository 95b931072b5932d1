//! What requests about tasks may say, and what they come to when they are sent again.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Crew, TASKS, path};
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
