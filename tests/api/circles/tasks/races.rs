//! What many do with one task at once.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};

use super::{Crew, TASKS, ask_at, path};
use crate::circles::circle_of;
use crate::harness::{Answer, TestApp};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_agents_that_claim_a_task_at_once_one_gets_it() {
    let app = TestApp::start().await;
    let sibling = app.sibling().await;
    let tenant = app.new_tenant().await;
    let agents: Vec<String> = (0..100).map(|n| format!("agent-{n}")).collect();
    let members: Vec<(&str, &str)> = agents.iter().map(|agent| (agent.as_str(), "editor")).collect();
    circle_of(&tenant, "crew", &members).await;
    let crew = Crew { app, tenant };
    let task = path(&crew.create("agent-0", json!({"title": "Mend the kettle"})).await);

    let clients = [crew.tenant.client.clone(), crew.tenant.at(sibling.url())];
    let claim = format!("{task}/claim");
    let claims = agents.iter().enumerate().map(|(n, agent)| ask_at(&clients[n % 2], agent, Method::POST, &claim, None));
    let answers = join_all(claims).await;

    let mut counts = BTreeMap::new();
    answers.iter().for_each(|answer| *counts.entry(answer.status).or_insert(0) += 1);
    assert_eq!(counts, BTreeMap::from([(200, 1), (409, 99)]));
    let winner = answers.iter().position(|answer| answer.status == 200).expect("one");
    answers.iter().filter(|answer| answer.status == 409).for_each(|lost| drop(lost.assert_problem(409, "wrong_state")));
    let claimed = crew.tenant.get(&task).await.expect(200);
    assert_eq!((&claimed["assignee"], &claimed["version"]), (&json!(agents[winner]), &json!(2)));
    assert_eq!(crew.history(&task).await.len(), 2);
    assert_eq!((crew.noted("task.claimed").await, crew.noted("task.claim_lost").await), (1, 99));
}

/// Only who comes after another is counted, not who asks twice or for what nobody has.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_lost_to_somebody_else() {
    let crew = Crew::start().await;
    let claimed = crew.task_after(&[("bob", "claim")]).await;
    let cancelled = crew.task_after(&[("ada", "cancel")]).await;
    let named = path(&crew.create("ada", json!({"title": "Bob's", "assignee": "bob"})).await);
    let before = crew.stamps().await;
    for (agent, path) in [("bob", &claimed), ("cat", &cancelled), ("cat", &named)] {
        crew.step(agent, path, "claim").await.assert_problem(409, "wrong_state");
    }
    assert_eq!(crew.noted("task.claim_lost").await, 0);
    crew.step("cat", &claimed, "claim").await.assert_problem(409, "wrong_state");
    assert_eq!(crew.noted("task.claim_lost").await, 1);
    assert_eq!(crew.stamps().await, before, "nothing has changed");
}

/// Whether a write of this server comes to wait for a lock.
async fn is_held(conn: &mut PgConnection) -> bool {
    for _ in 0..200 {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        if sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut *conn).await.expect("a count") > 0 {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// Sends a request while somebody holds a lock that it needs, and does this before letting go. The gate is behind the
/// request by then.
async fn overtaken(
    crew: &Crew,
    request: (&str, Method, &str),
    body: serde_json::Value,
    lock: &str,
    change: &str,
) -> Answer {
    let mut holder = crew.app.database.superuser().await;
    sqlx::raw_sql(AssertSqlSafe(format!("BEGIN; {lock}"))).execute(&mut holder).await.expect("locks");
    let (agent, method, path) = request;
    let asked = crew.ask(agent, method, path, Some(body));
    let meanwhile = async {
        assert!(is_held(&mut crew.app.database.superuser().await).await, "the request takes no lock");
        sqlx::raw_sql(AssertSqlSafe(format!("{change}; COMMIT"))).execute(&mut holder).await.expect("changes");
    };
    tokio::join!(asked, meanwhile).0
}

fn membership(agent: &str) -> String {
    format!("agent_uid = (SELECT agent_uid FROM agents WHERE agent_id = '{agent}')")
}

/// The gate still saw a member, or an owner; the write begins after the role was taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_was_taken_after_the_gate_writes_nothing() {
    let crew = Crew::start().await;
    let open = crew.task_after(&[]).await;
    let submitted = crew.task_after(&[("cat", "claim"), ("cat", "submit")]).await;
    let lock = |agent| format!("SELECT FROM circle_members WHERE {} FOR UPDATE", membership(agent));
    let claim = ("bob", Method::POST, &*format!("{open}/claim"));
    let removal = format!("DELETE FROM circle_members WHERE {}", membership("bob"));
    overtaken(&crew, claim, json!({}), &lock("bob"), &removal).await.assert_problem(404, "not_found");
    let approve = ("eve", Method::POST, &*format!("{submitted}/approve"));
    let demotion = format!("UPDATE circle_members SET role = 'editor' WHERE {}", membership("eve"));
    overtaken(&crew, approve, json!({}), &lock("eve"), &demotion).await.assert_problem(403, "role_required");
    for (path, state) in [(open, "open"), (submitted, "submitted")] {
        assert_eq!(crew.tenant.get(&path).await.expect(200)["state"], state);
    }
}

/// Whoever is about to leave is not given a task meanwhile: the one who names it waits, and learns that it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn an_assignee_cannot_leave_while_it_is_named() {
    let crew = Crew::start().await;
    let lock = format!("SELECT FROM circle_members WHERE {} FOR UPDATE", membership("bob"));
    let removal = format!("DELETE FROM circle_members WHERE {}", membership("bob"));
    let fields = json!({"title": "Mend it", "assignee": "bob"});
    let refused = overtaken(&crew, ("ada", Method::POST, TASKS), fields, &lock, &removal).await;
    let problem = refused.assert_problem(422, "invalid_value");
    assert_eq!(problem["errors"][0]["pointer"], "/assignee");
}
