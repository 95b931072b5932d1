//! Making, reading, changing and deleting warm-ups.

use reqwest::Method;
use serde_json::{Value, json};

use super::kettle;
use crate::harness::TestApp;

fn path(warmup: &Value) -> String {
    format!("/v1/warmups/{}", warmup["id"].as_str().expect("an id"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_up_is_made_read_changed_and_deleted() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let made = tenant.post("/v1/warmups", kettle()).await;
    let warmup = made.expect(201);
    assert_eq!(
        warmup["targets"][0],
        json!({"agent_id": "ada", "queries": ["Where is the kettle?"], "top_queries": null, "context": false})
    );
    assert_eq!((&warmup["enabled"], &warmup["timezone"]), (&json!(true), &json!("Europe/Berlin")));
    // Half past seven on New Year's morning in Berlin.
    assert!(warmup["next_due"].as_str().expect("a time").ends_with("-01-01T06:30:00Z"));
    let read = tenant.get(&path(&warmup)).await;
    assert_eq!((read.expect(200), read.header("etag")), (warmup.clone(), made.header("etag")));
    assert_eq!(tenant.get("/v1/warmups").await.expect(200), json!({"items": [warmup], "next_cursor": null}));

    let changed = tenant.patch(&path(&warmup), json!({"enabled": false, "timezone": null})).await.expect(200);
    assert_eq!(
        (&changed["next_due"], &changed["timezone"], &changed["cron"]),
        (&Value::Null, &json!("UTC"), &warmup["cron"])
    );
    let stale = tenant.request(Method::PATCH, &path(&warmup)).header("if-match", made.header("etag"));
    tenant.send(stale.json(&json!({"name": "lunch"}))).await.assert_problem(412, "precondition_failed");
    let wrong = tenant.patch(&path(&warmup), json!({"cron": "0 0 * *"})).await.assert_problem(422, "invalid_value");
    assert_eq!(wrong["errors"][0]["pointer"], "/cron");

    tenant.delete(&path(&warmup)).await.expect(204);
    tenant.get(&path(&warmup)).await.assert_problem(404, "not_found");
    tenant.patch(&path(&warmup), json!({})).await.assert_problem(404, "not_found");
    tenant.post(&format!("{}/run", path(&warmup)), json!({})).await.assert_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_with_its_place() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let target = |target: Value| json!({"name": "x", "cron": "0 7 * * *", "targets": [target]});
    let cases = [
        (target(json!({"queries": ["x"]})), "/targets/0", "invalid_value"),
        (target(json!({"agent_id": "a", "circle_id": "c", "queries": ["x"]})), "/targets/0", "invalid_value"),
        (target(json!({"agent_id": "a"})), "/targets/0", "invalid_value"),
        (target(json!({"agent_id": "a", "context": true})), "/targets/0", "invalid_value"),
        (target(json!({"agent_id": "a b", "queries": ["x"]})), "/targets/0/agent_id", "invalid_id"),
        (target(json!({"agent_id": "a", "queries": [""]})), "/targets/0/queries/0", "field_empty"),
        (target(json!({"agent_id": "a", "top_queries": 0})), "/targets/0/top_queries", "out_of_range"),
        (target(json!({"agent_id": "a", "top_queries": 101})), "/targets/0/top_queries", "out_of_range"),
        (json!({"name": "x", "cron": "0 7 * * *", "targets": []}), "/targets", "field_empty"),
        (
            json!({"name": "", "cron": "0 7 * * *", "targets": [{"agent_id": "a", "top_queries": 5}]}),
            "/name",
            "field_empty",
        ),
        (json!({"name": "x", "targets": [{"agent_id": "a", "top_queries": 5}]}), "/cron", "field_missing"),
    ];
    for (body, pointer, code) in cases {
        let problem = tenant.post("/v1/warmups", body.clone()).await.assert_problem(422, code);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem}");
    }
    assert_eq!(tenant.get("/v1/warmups").await.expect(200)["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_up_sent_twice_is_made_once_and_runs_once() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let send = async |path: &str, body: Value| {
        let request = tenant.request(Method::POST, path).header("idempotency-key", "one").json(&body);
        tenant.send(request).await
    };
    let first = send("/v1/warmups", kettle()).await.expect(201);
    let second = send("/v1/warmups", kettle()).await;
    assert_eq!((&second.expect(201)["id"], second.header("idempotency-replayed")), (&first["id"], "true"));
    let run = format!("{}/run", path(&first));
    assert_eq!(send(&run, json!({})).await.expect(202)["id"], send(&run, json!({})).await.expect(202)["id"]);
    let runs = tenant.get(&format!("{}/runs", path(&first))).await.expect(200);
    assert_eq!(runs["items"].as_array().expect("runs").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn warm_ups_are_for_who_manages_jobs_of_the_whole_tenant() {
    let app = TestApp::start().await;
    let (tenant, stranger) = (app.new_tenant().await, app.new_tenant().await);
    let warmup = tenant.post("/v1/warmups", kettle()).await.expect(201);
    let reader = app.client(tenant.id, "memories:read,cache:manage", None).await;
    reader.get("/v1/warmups").await.assert_problem(403, "insufficient_scope");
    let manager = app.client(tenant.id, "jobs:manage", None).await;
    manager.get("/v1/warmups").await.expect(200);
    let acting = manager.acting_as("ada");
    for client in [&acting, &app.client(tenant.id, "jobs:manage", None).await.acting_as("ada")] {
        client.get("/v1/warmups").await.assert_problem(403, "insufficient_scope");
        client.post("/v1/warmups", kettle()).await.assert_problem(403, "insufficient_scope");
        client.post(&format!("{}/run", path(&warmup)), json!({})).await.assert_problem(403, "insufficient_scope");
    }
    for path in [path(&warmup), format!("{}/runs", path(&warmup))] {
        stranger.get(&path).await.assert_problem(404, "not_found");
    }
    stranger.delete(&path(&warmup)).await.assert_problem(404, "not_found");
    assert_eq!(stranger.get("/v1/warmups").await.expect(200)["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_a_hundred_warm_ups_at_most() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    for _ in 0..99 {
        tenant.post("/v1/warmups", kettle()).await.expect(201);
    }
    // Two at once: one of them is the hundred and first.
    let (one, other) = tokio::join!(tenant.post("/v1/warmups", kettle()), tenant.post("/v1/warmups", kettle()));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    tenant.post("/v1/warmups", kettle()).await.assert_problem(409, "limit_reached");
}
