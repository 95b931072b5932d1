//! The figures of a circle: what was shared, recalled, done, and lost to others.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::circles::{circle_of, path_in};
use crate::harness::{Client, TestApp};

async fn metrics(client: &Client, query: &str) -> Value {
    client.get(&format!("/v1/circles/c/metrics{query}")).await.expect(200)
}

/// Asks until the circle was recalled from so often; the counts are written every few seconds.
async fn wait_for_recalls(client: &Client, recalls: i64) {
    for _ in 0..100 {
        let now = metrics(client, "").await["recalls"].as_i64().expect("a count");
        assert!(now <= recalls, "{now} recalls, not {recalls}");
        if now == recalls {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("not {recalls} recalls: {}", metrics(client, "").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_tell_who_shared_what_and_how_tasks_went() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "owner"), ("bob", "editor"), ("eve", "reader")]).await;
    let empty = metrics(&tenant.acting_as("eve"), "").await;
    assert_eq!(empty["memories"], json!({"shared": 0, "by_member": [], "by_kind": {}}));
    assert_eq!((&empty["tasks"]["done"], &empty["tasks"]["time_to_done_ms"]), (&json!(0), &json!(null)));

    for (agent, kind, content) in [
        ("bob", "decision", "Tea it is."),
        ("ada", "decision", "Green tea."),
        ("ada", "fact", "The kettle is broken."),
        ("ada", "fact", "The tin is empty."),
    ] {
        let memory = json!({"content": content, "kind": kind, "circles": ["c"]});
        let memory = tenant.acting_as(agent).remember_as(agent, memory).await;
        if content == "The tin is empty." {
            tenant.acting_as("ada").delete(&path_in(&memory, "c")).await.expect(204);
        }
    }
    let mut tasks = Vec::new();
    for number in 0..3 {
        let task = tenant.post("/v1/circles/c/tasks", json!({"title": format!("Task {number}")})).await.expect(201);
        tasks.push(format!("/v1/circles/c/tasks/{}", task["id"].as_str().expect("an id")));
    }
    let (ada, bob) = (tenant.acting_as("ada"), tenant.acting_as("bob"));
    for task in &tasks[..2] {
        bob.post(&format!("{task}/claim"), json!({})).await.expect(200);
        ada.post(&format!("{task}/claim"), json!({})).await.assert_problem(409, "wrong_state");
    }
    bob.post(&format!("{}/submit", tasks[0]), json!({})).await.expect(200);
    ada.post(&format!("{}/approve", tasks[0]), json!({})).await.expect(200);

    let figures = metrics(&tenant.acting_as("eve"), "").await;
    let by_member = json!([
        {"agent_id": "ada", "shared": 3, "by_kind": {"decision": 1, "fact": 2}},
        {"agent_id": "bob", "shared": 1, "by_kind": {"decision": 1}},
    ]);
    let by_kind = json!({"decision": 2, "fact": 2});
    assert_eq!(figures["memories"], json!({"shared": 4, "by_member": by_member, "by_kind": by_kind}));
    let by_state = json!({"open": 1, "claimed": 1, "submitted": 0, "approved": 1, "cancelled": 0});
    assert_eq!((&figures["tasks"]["by_state"], &figures["tasks"]["done"]), (&by_state, &json!(1)));
    let took = &figures["tasks"]["time_to_done_ms"];
    let task = ada.get(&tasks[0]).await.expect(200);
    let time = |field: &str| {
        let text = task[field].as_str().expect("a time");
        time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).expect("a time")
    };
    let real = (time("updated_at") - time("created_at")).whole_microseconds() as f64 / 1e3;
    for figure in ["p50", "p95", "mean"] {
        assert!(took[figure].as_f64().is_some_and(|ms| (ms - real).abs() <= 0.5), "{figure} of {took}: {real} ms");
    }
    assert_eq!(figures["conflicts"], json!({"claims_lost": 2}));
    assert_eq!(figures["circle_id"], "c");
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_go_as_far_back_as_the_window() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "owner"), ("bob", "editor")]).await;
    tenant.acting_as("ada").remember_as("ada", json!({"content": "Kettle.", "circles": ["c"]})).await;
    for title in ["old", "new"] {
        let task = tenant.post("/v1/circles/c/tasks", json!({"title": title})).await.expect(201);
        let path = format!("/v1/circles/c/tasks/{}", task["id"].as_str().expect("an id"));
        for (agent, step, status) in
            [("bob", "claim", 200), ("ada", "claim", 409), ("bob", "submit", 200), ("ada", "approve", 200)]
        {
            let answer = tenant.acting_as(agent).post(&format!("{path}/{step}"), json!({})).await;
            assert_eq!(answer.status, status, "{}", answer.text);
        }
        if title == "old" {
            // Two hours go by; the task was begun an hour before it was done.
            let sql = format!(
                "SET session_replication_role = replica;
                 UPDATE shares SET shared_at = shared_at - interval '2 hours' WHERE tenant_id = '{0}';
                 UPDATE circle_events SET happened_at = happened_at - interval '2 hours' WHERE tenant_id = '{0}';
                 UPDATE task_moves SET moved_at = moved_at - interval '2 hours' WHERE tenant_id = '{0}';
                 UPDATE tasks SET created_at = (SELECT max(moved_at) FROM task_moves) - interval '1 hour'
                  WHERE tenant_id = '{0}';
                 INSERT INTO circle_recalls (tenant_id, scope_id, minute, recalls)
                      SELECT tenant_id, content_scope, date_trunc('minute', now() - interval '2 hours'), 7
                        FROM circles WHERE tenant_id = '{0}'",
                tenant.id
            );
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut app.database.superuser().await).await.expect("aged");
        }
    }
    let told = async |query: &str| {
        let figures = metrics(&tenant, query).await;
        let counts = [
            &figures["memories"]["shared"],
            &figures["recalls"],
            &figures["tasks"]["done"],
            &figures["conflicts"]["claims_lost"],
        ];
        let counts = counts.map(|count| count.as_i64().expect("a count"));
        (
            counts,
            figures["tasks"]["by_state"]["approved"].as_i64(),
            figures["tasks"]["time_to_done_ms"]["mean"].as_i64(),
        )
    };
    let (counts, approved, short) = told("?window=1h").await;
    assert_eq!((counts, approved), ([0, 0, 1, 1], Some(2)), "states are of now");
    let (counts, _, mean) = told("?window=180m").await;
    assert_eq!(counts, [1, 7, 2, 2]);
    let expected = (3_600_000 + short.expect("a time")) / 2;
    assert!(mean.is_some_and(|mean| (mean - expected).abs() <= 1), "{mean:?} ms, not {expected}");
    for all in ["", "?window=24h", "?window=1d", "?window=90d"] {
        assert_eq!(told(all).await.0, [1, 7, 2, 2], "{all}");
    }
    let figures = metrics(&tenant, "?window=90m").await;
    let moment = |field: &str| {
        let text = figures[field].as_str().expect("a time");
        time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).expect("a time")
    };
    assert_eq!(moment("to") - moment("from"), time::Duration::minutes(90));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_out_of_bounds_is_refused() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "owner")]).await;
    for (query, code, pointer) in [
        ("?window=0m", "out_of_range", "/window"),
        ("?window=91d", "out_of_range", "/window"),
        ("?window=1", "invalid_value", "/window"),
        ("?window=", "invalid_value", "/window"),
        ("?window=-1h", "invalid_value", "/window"),
        ("?window=1h&window=2h", "duplicate_item", "/window"),
        ("?since=1h", "unknown_field", "/since"),
    ] {
        let refused = tenant.get(&format!("/v1/circles/c/metrics{query}")).await.assert_problem(422, code);
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{query}");
    }
    tenant.acting_as("bob").get("/v1/circles/c/metrics").await.assert_problem(404, "not_found");
    app.new_tenant().await.get("/v1/circles/c/metrics").await.assert_problem(404, "not_found");
    let writer = app.client(tenant.id, "circles:manage", None).await;
    writer.get("/v1/circles/c/metrics").await.assert_problem(403, "insufficient_scope");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recall_that_searches_a_circle_counts_wherever_it_is_answered() {
    let app = TestApp::start().await;
    let there = app.sibling().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "owner")]).await;
    circle_of(&tenant, "d", &[("ada", "owner"), ("bob", "owner")]).await;
    tenant.put("/v1/agents/eve", json!({})).await.expect(201);
    let question = |within: Value| json!({"query": "kettle", "within": within});
    for client in [&tenant.client, &tenant.at(there.url())] {
        for _ in 0..3 {
            client.post("/v1/circles/c/recall", json!({"query": "kettle"})).await.expect(200);
        }
        client.recall("ada", question(json!("all"))).await;
        client.recall("ada", question(json!({"circles": ["d", "c", "c"]}))).await;
        // None of these searches it.
        client.recall("ada", question(json!("private"))).await;
        client.recall("ada", question(json!({"circles": ["d"]}))).await;
        client.recall("bob", question(json!("all"))).await;
        client.post("/v1/circles/c/recall", json!({"query": ""})).await.assert_problem(422, "field_empty");
        client
            .acting_as("eve")
            .post("/v1/circles/c/recall", json!({"query": "x"}))
            .await
            .assert_problem(404, "not_found");
    }
    wait_for_recalls(&tenant, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recalls_are_counted_to_the_last_when_a_server_ends() {
    let app = TestApp::start().await;
    let there = app.sibling().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "owner")]).await;
    let client = tenant.at(there.url());
    for _ in 0..20 {
        client.post("/v1/circles/c/recall", json!({"query": "kettle"})).await.expect(200);
    }
    there.app.close().await;
    assert_eq!(metrics(&tenant, "").await["recalls"], 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_that_is_gone_leaves_no_counts_behind() {
    let app = TestApp::start().await;
    let there = app.sibling().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "owner")]).await;
    tenant.at(there.url()).post("/v1/circles/c/recall", json!({"query": "kettle"})).await.expect(200);
    tenant.delete("/v1/circles/c").await.expect(200);
    there.app.close().await;
    let left = sqlx::query_scalar("SELECT count(*) FROM circle_recalls WHERE tenant_id = $1").bind(tenant.id);
    let left: i64 = left.fetch_one(&mut app.database.superuser().await).await.expect("a count");
    assert_eq!(left, 0);
}
