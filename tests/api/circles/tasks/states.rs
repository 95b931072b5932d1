//! Every state, every move, every kind of actor.

use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Crew, path};
use crate::harness::Answer;

/// A state, and the moves that lead to it. What is open for bob is open, too.
const STATES: [(&str, &[(&str, &str)]); 6] = [
    ("open", &[]),
    ("open", &[("bob", "be named")]),
    ("claimed", &[("bob", "claim")]),
    ("submitted", &[("bob", "claim"), ("bob", "submit")]),
    ("approved", &[("bob", "claim"), ("bob", "submit"), ("ada", "approve")]),
    ("cancelled", &[("cat", "cancel")]),
];

/// What each actor gets in each of these states. A trusted back end is `-`.
const TABLE: [(&str, &str, [u16; 6]); 48] = [
    ("claim", "ada", [200, 409, 409, 409, 409, 409]),
    ("claim", "bob", [200, 200, 409, 409, 409, 409]),
    ("claim", "cat", [200, 409, 409, 409, 409, 409]),
    ("claim", "rod", [403; 6]),
    ("claim", "zoe", [404; 6]),
    ("claim", "-", [403; 6]),
    ("submit", "ada", [409; 6]),
    ("submit", "bob", [409, 409, 200, 409, 409, 409]),
    ("submit", "cat", [409; 6]),
    ("submit", "rod", [403; 6]),
    ("submit", "zoe", [404; 6]),
    ("submit", "-", [403; 6]),
    ("approve", "ada", [409, 409, 409, 200, 409, 409]),
    ("approve", "bob", [403; 6]),
    ("approve", "cat", [403; 6]),
    ("approve", "rod", [403; 6]),
    ("approve", "zoe", [404; 6]),
    ("approve", "-", [409, 409, 409, 200, 409, 409]),
    ("reject", "ada", [409, 409, 409, 200, 409, 409]),
    ("reject", "bob", [403; 6]),
    ("reject", "cat", [403; 6]),
    ("reject", "rod", [403; 6]),
    ("reject", "zoe", [404; 6]),
    ("reject", "-", [409, 409, 409, 200, 409, 409]),
    ("cancel", "ada", [200, 200, 200, 200, 409, 200]),
    ("cancel", "bob", [200, 200, 200, 200, 409, 200]),
    ("cancel", "cat", [200, 200, 200, 200, 409, 200]),
    ("cancel", "rod", [403; 6]),
    ("cancel", "zoe", [404; 6]),
    ("cancel", "-", [200, 200, 200, 200, 409, 200]),
    ("edit", "ada", [200, 200, 200, 200, 409, 409]),
    ("edit", "bob", [200, 200, 200, 200, 409, 409]),
    ("edit", "cat", [200, 200, 200, 200, 409, 409]),
    ("edit", "rod", [403; 6]),
    ("edit", "zoe", [404; 6]),
    ("edit", "-", [200, 200, 200, 200, 409, 409]),
    ("assign", "ada", [200, 200, 409, 409, 409, 409]),
    ("assign", "bob", [200, 200, 409, 409, 409, 409]),
    ("assign", "cat", [200, 200, 409, 409, 409, 409]),
    ("assign", "rod", [403; 6]),
    ("assign", "zoe", [404; 6]),
    ("assign", "-", [200, 200, 409, 409, 409, 409]),
    ("delete", "ada", [204; 6]),
    ("delete", "bob", [403; 6]),
    ("delete", "cat", [403; 6]),
    ("delete", "rod", [403; 6]),
    ("delete", "zoe", [404; 6]),
    ("delete", "-", [204; 6]),
];

/// The state that a move leads to.
fn target(step: &str) -> Option<&'static str> {
    Some(match step {
        "claim" => "claimed",
        "submit" => "submitted",
        "approve" => "approved",
        "reject" => "open",
        "cancel" => "cancelled",
        _ => return None,
    })
}

async fn act(crew: &Crew, step: &str, actor: &str, path: &str) -> Answer {
    match step {
        "edit" => crew.patch(actor, path, json!({"title": "Mend it well"})).await,
        "assign" => crew.patch(actor, path, json!({"assignee": "eve"})).await,
        "delete" => crew.ask(actor, Method::DELETE, path, None).await,
        step => crew.step(actor, path, step).await,
    }
}

async fn in_state(crew: &Crew, steps: &[(&str, &str)]) -> String {
    if let [(agent, "be named")] = steps {
        return path(&crew.create("ada", json!({"title": "Mend the kettle", "assignee": agent})).await);
    }
    crew.task_after(steps).await
}

async fn check(crew: &Crew, case: &str, (step, actor): (&str, &str), (state, column): (&str, usize), expected: u16) {
    let path = in_state(crew, STATES[column].1).await;
    let (task, history) = (crew.tenant.get(&path).await.expect(200), crew.history(&path).await);
    assert_eq!(task["state"], state, "{case}");
    let answer = act(crew, step, actor, &path).await;
    assert_eq!(answer.status, expected, "{case}: {}", answer.text);
    if let (200, Some(target)) = (expected, target(step)) {
        assert_eq!(answer.json()["state"], target, "{case}");
        if state != target {
            let after = crew.history(&path).await;
            let last = &after[history.len()];
            assert_eq!((&last["from"], &last["to"]), (&json!(state), &json!(target)), "{case}");
            let who = if actor == "-" { Value::Null } else { json!(actor) };
            assert_eq!((after.len(), &last["agent_id"]), (history.len() + 1, &who), "{case}");
            return;
        }
    }
    if expected == 204 {
        crew.tenant.get(&path).await.assert_problem(404, "not_found");
        return;
    }
    assert_eq!(crew.history(&path).await, history, "{case}: no move, no history");
    let code = match expected {
        403 => "role_required",
        404 => "not_found",
        409 => "wrong_state",
        _ => return,
    };
    let problem = answer.assert_problem(expected, code);
    if expected == 409 {
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(state)), "{case}: {problem}");
    }
    assert_eq!(crew.tenant.get(&path).await.expect(200), task, "{case}: nothing changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_actor_takes_a_task_from_every_state_as_far_as_the_contract_says() {
    let crew = Crew::start().await;
    for (step, actor, expected) in TABLE {
        for (column, (state, _)) in STATES.iter().enumerate() {
            let case = format!("{actor}: {step} what is {state} ({column})");
            check(&crew, &case, (step, actor), (state, column), expected[column]).await;
        }
    }
}

fn time(json: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(json.as_str().expect("a time"), &Rfc3339).expect("RFC 3339")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_goes_from_open_to_approved_and_each_move_says_who_when_and_why() {
    let crew = Crew::start().await;
    let task = crew.create("cat", json!({"title": "Mend the kettle", "details": "It leaks. ☕", "priority": 7})).await;
    let path = path(&task);
    let say = async |agent: &str, step: &str, body: Value| {
        crew.ask(agent, Method::POST, &format!("{path}/{step}"), Some(body)).await.expect(200)
    };
    let claimed = say("bob", "claim", json!({"note": "mine"})).await;
    assert_eq!((&claimed["assignee"], &claimed["version"]), (&json!("bob"), &json!(2)));
    say("bob", "submit", json!({"result": "Soldered.", "note": "done"})).await;
    let rejected = say("ada", "reject", json!({"reason": "It still leaks."})).await;
    assert_eq!((&rejected["assignee"], &rejected["reason"]), (&json!(null), &json!("It still leaks.")));
    say("cat", "claim", json!({})).await;
    let submitted = say("cat", "submit", json!({"result": "Replaced."})).await;
    assert_eq!((&submitted["result"], &submitted["reason"]), (&json!("Replaced."), &json!(null)));
    let approved = say("-", "approve", json!({"note": "good"})).await;
    assert_eq!((&approved["state"], &approved["assignee"]), (&json!("approved"), &json!("cat")));

    let history = crew.history(&path).await;
    let told: Vec<Value> =
        history.iter().map(|one| json!([one["agent_id"], one["from"], one["to"], one["note"]])).collect();
    assert_eq!(
        json!(told),
        json!([
            ["cat", null, "open", null],
            ["bob", "open", "claimed", "mine"],
            ["bob", "claimed", "submitted", "done"],
            ["ada", "submitted", "open", "It still leaks."],
            ["cat", "open", "claimed", null],
            ["cat", "claimed", "submitted", null],
            [null, "submitted", "approved", "good"],
        ])
    );
    let key = uuid::Uuid::parse_str(crew.tenant.key.split('_').nth(2).expect("the id of the key")).expect("a UUID");
    assert!(history.iter().all(|one| one["moved_by"] == key.to_string()), "{history:?}");
    let times: Vec<OffsetDateTime> = history.iter().map(|one| time(&one["at"])).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!((times[0], times[6]), (time(&task["created_at"]), time(&approved["updated_at"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_may_say_more_in_its_note_than_in_its_reason() {
    let crew = Crew::start().await;
    let path = crew.task_after(&[("bob", "claim"), ("bob", "submit")]).await;
    let body = json!({"reason": "It leaks.", "note": "I filled it and waited an hour."});
    crew.ask("ada", Method::POST, &format!("{path}/reject"), Some(body)).await.expect(200);
    assert_eq!(crew.history(&path).await[3]["note"], "I filled it and waited an hour.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_what_would_be_allowed_and_to_whom() {
    let crew = Crew::start().await;
    let path = crew.task_after(&[("bob", "claim")]).await;
    let late = crew.step("cat", &path, "claim").await.assert_problem(409, "wrong_state");
    assert_eq!(late["detail"], "the task is claimed by bob; it can be submitted by bob, or cancelled");
    let nobody = crew.step("-", &path, "submit").await.assert_problem(403, "role_required");
    assert!(nobody["detail"].as_str().is_some_and(|detail| detail.contains("Cairn-Agent")), "{nobody}");
    let unknown = format!("{}/{}", super::TASKS, uuid::Uuid::now_v7());
    crew.step("-", &unknown, "claim").await.assert_problem(404, "not_found");
    crew.step("rod", &unknown, "claim").await.assert_problem(403, "role_required");
}

/// The role is settled before the body is looked at, and both before the state.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_told_so_before_the_body_is_read() {
    let crew = Crew::start().await;
    let path = crew.task_after(&[]).await;
    let wrong = Some(json!({"no_such_field": 1}));
    for (agent, status, code) in
        [("zoe", 404, "not_found"), ("rod", 403, "role_required"), ("bob", 422, "field_missing")]
    {
        crew.ask(agent, Method::POST, super::TASKS, Some(json!({}))).await.assert_problem(status, code);
        let code = if status == 422 { "unknown_field" } else { code };
        crew.ask(agent, Method::PATCH, &path, wrong.clone()).await.assert_problem(status, code);
        crew.ask(agent, Method::POST, &format!("{path}/cancel"), wrong.clone()).await.assert_problem(status, code);
    }
    crew.ask("bob", Method::POST, &format!("{path}/approve"), wrong).await.assert_problem(403, "role_required");
}
