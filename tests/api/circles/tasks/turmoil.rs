//! Members come and go while others work: whatever the order, nobody deadlocks and no task is left with somebody who
//! cannot do it.

use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Crew, TASKS};

const AGENTS: [&str; 4] = ["ada", "bob", "cat", "dan"];
const STEPS: [&str; 5] = ["claim", "submit", "approve", "reject", "cancel"];
const ROLES: [&str; 2] = ["editor", "reader"];

/// A change that somebody may think of, of a task or of the members. Ada owns the circle and stays.
fn change(random: &mut StdRng, tasks: &[String]) -> (Method, String, Option<Value>) {
    let [one, other] = [0, 1].map(|_| AGENTS[random.random_range(1..AGENTS.len())]);
    let role = ROLES[random.random_range(0..ROLES.len())];
    let member = format!("/v1/circles/crew/members/{one}");
    let task = tasks.choose(random).expect("a task");
    match random.random_range(0..10) {
        0 => (Method::DELETE, member, None),
        1 => (Method::PUT, member, Some(json!({"role": role}))),
        2 | 3 => {
            let mut members = vec![json!({"agent_id": one, "role": role})];
            if other != one {
                members.push(json!({"agent_id": other, "role": "editor"}));
            }
            (Method::PUT, "/v1/circles/crew/members".into(), Some(json!({ "members": members })))
        }
        4 => (Method::DELETE, "/v1/agents/dan".into(), None),
        5 => (Method::POST, TASKS.into(), Some(json!({"title": "Mend it", "assignee": one}))),
        6 => (Method::PATCH, task.clone(), Some(json!({"assignee": other, "priority": random.random_range(0..10)}))),
        _ => (Method::POST, format!("{task}/{}", STEPS[random.random_range(0..STEPS.len())]), None),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_and_goes_no_task_is_left_with_who_cannot_do_it() {
    let crew = Crew::start().await;
    let mut tasks = Vec::new();
    for _ in 0..12 {
        tasks.push(crew.task_after(&[]).await);
    }
    let (crew, tasks) = (&crew, &tasks);
    let workers = (0..8).map(|seed| async move {
        let mut random = StdRng::seed_from_u64(seed);
        let mut done = 0;
        for _ in 0..60 {
            let (method, path, body) = change(&mut random, tasks);
            let agent = AGENTS[random.random_range(0..AGENTS.len())];
            // Members are the back end's business: too few of these would be owners.
            let agent = if path.contains("/members") || path.contains("/agents") { "-" } else { agent };
            let answer = crew.ask(agent, method.clone(), &path, body).await;
            assert!(answer.status < 500, "{agent}: {method} {path}: {}", answer.text);
            done += usize::from(answer.status < 300);
        }
        done
    });
    let done: usize = join_all(workers).await.into_iter().sum();
    assert!(done > 100, "only {done} changes happened");
    for (what, rows) in wrong_rows(crew).await {
        assert_eq!(rows, 0, "{what}");
    }
}

/// What must not be there, and how often it is.
async fn wrong_rows(crew: &Crew) -> Vec<(&'static str, i64)> {
    // Backends report about once a second.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let checks = [
        ("deadlocks", "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"),
        (
            "claimed by who may not work here",
            "SELECT count(*) FROM tasks t WHERE state = 'claimed' AND NOT EXISTS (
                 SELECT FROM circle_members m WHERE m.agent_uid = t.assignee AND m.circle_uid = t.circle_uid AND m.role <> 'reader')",
        ),
        (
            "open for who is no member",
            "SELECT count(*) FROM tasks t WHERE state = 'open' AND assignee IS NOT NULL AND NOT EXISTS (
                 SELECT FROM circle_members m WHERE m.agent_uid = t.assignee AND m.circle_uid = t.circle_uid)",
        ),
        (
            "moves that do not follow on each other",
            "SELECT count(*) FROM (
                 SELECT from_state, moved_at, move_no,
                        lag(to_state) OVER w AS before, lag(moved_at) OVER w AS earlier, row_number() OVER w AS number
                   FROM task_moves WINDOW w AS (PARTITION BY task_id ORDER BY move_no)) moves
              WHERE from_state IS DISTINCT FROM before OR moved_at < earlier OR move_no <> number",
        ),
        (
            "states that no move led to",
            "SELECT count(*) FROM tasks t WHERE state IS DISTINCT FROM (
                 SELECT to_state FROM task_moves m WHERE m.task_id = t.task_id ORDER BY move_no DESC LIMIT 1)",
        ),
    ];
    let mut superuser = crew.app.database.superuser().await;
    let mut found = Vec::new();
    for (what, count) in checks {
        found.push((what, sqlx::query_scalar(count).fetch_one(&mut superuser).await.expect("a count")));
    }
    found
}
