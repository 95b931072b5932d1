//! Tenants: what their operator does with them, what they do with themselves, and their end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cairn::db::Intent;
use cairn::erase;
use cairn::ids::TenantId;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::harness::proxy::Proxy;
use crate::harness::{Client, Tenant, TestApp};
use crate::writes::wait_until_held_or;

async fn operator(app: &TestApp) -> Client {
    app.client(TenantId::OPERATOR, "platform", None).await
}

fn path(tenant: TenantId) -> String {
    format!("/v1/platform/tenants/{tenant}")
}

/// Rows of one tenant, by table, and only tables that have some.
async fn rows(app: &TestApp, tenant: TenantId) -> BTreeMap<String, i64> {
    let mut superuser = app.database.superuser().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
          WHERE c.relnamespace = 'cairn'::regnamespace AND c.relkind = 'r' ORDER BY 1",
    )
    .fetch_all(&mut superuser)
    .await
    .expect("tables");
    let mut rows = BTreeMap::new();
    for table in tables {
        let count = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE tenant_id = $1")));
        let count: i64 = count.bind(tenant).fetch_one(&mut superuser).await.expect("counts");
        if count > 0 {
            rows.insert(table, count);
        }
    }
    rows
}

async fn erased(operator: &Client, tenant: TenantId) -> Value {
    for _ in 0..400 {
        let state = operator.get(&path(tenant)).await.expect(200);
        if state["erasure"]["finished_at"].is_string() {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the erasure does not end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_creates_lists_and_reads_tenants() {
    let app = TestApp::start().await;
    let operator = operator(&app).await;
    let created = operator.post("/v1/platform/tenants", json!({"name": "acme", "quotas": {"memories": 7}})).await;
    assert_eq!(created.header("cache-control"), "no-store");
    let body = created.expect(201);
    assert_eq!((&body["tenant"]["quotas"]["memories"], &body["tenant"]["quotas"]["bytes"]), (&json!(7), &Value::Null));
    let key = body["api_key"].as_str().expect("a key");
    operator.with_key(key).remember("ada", "The kettle is broken.").await;
    operator.with_key(key).get("/v1/platform/tenants").await.assert_problem(403, "insufficient_scope");
    operator.post("/v1/platform/tenants", json!({"name": "acme"})).await.assert_problem(409, "id_taken");

    let id = body["tenant"]["id"].as_str().expect("an id");
    let read = operator.get(&format!("/v1/platform/tenants/{id}")).await;
    assert_eq!(read.header("etag"), created.header("etag"));
    assert_eq!(read.expect(200)["tenant"], body["tenant"]);
    app.new_tenant().await;
    let first = operator.get("/v1/platform/tenants?limit=1").await.expect(200);
    assert_eq!(first["items"].as_array().map(Vec::len), Some(1));
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let second = operator.get(&format!("/v1/platform/tenants?limit=1&cursor={cursor}")).await.expect(200);
    assert_ne!(second["items"][0]["id"], first["items"][0]["id"]);
    for id in [TenantId::OPERATOR, TenantId::new()] {
        operator.get(&path(id)).await.assert_problem(404, "not_found");
        operator.patch(&path(id), json!({"status": "suspended"})).await.assert_problem(404, "not_found");
        operator.delete(&path(id)).await.assert_problem(404, "not_found");
    }
    operator.get("/v1/platform/tenants/x").await.assert_problem(422, "invalid_id");
}

#[tokio::test(flavor = "multi_thread")]
async fn suspending_and_resuming_takes_effect_on_the_next_call_everywhere() {
    let app = TestApp::start().await;
    let sibling = app.sibling().await;
    let (operator, tenant) = (operator(&app).await, app.new_tenant().await);
    let token = tenant.post("/v1/auth/token", json!({})).await.expect(200);
    let token = tenant.with_key(token["access_token"].as_str().expect("a token"));
    for _ in 0..10 {
        operator.patch(&path(tenant.id), json!({"status": "suspended"})).await.expect(200);
        for caller in [tenant.client.clone(), token.clone(), tenant.at(sibling.url()), token.at(sibling.url())] {
            caller.get("/v1/agents").await.assert_problem(403, "tenant_suspended");
        }
        operator.patch(&path(tenant.id), json!({"status": "active"})).await.expect(200);
        for caller in [tenant.client.clone(), token.at(sibling.url())] {
            caller.get("/v1/agents").await.expect(200);
        }
    }
    let etag = operator.get(&path(tenant.id)).await.header("etag").to_owned();
    let patch = |condition: &str| {
        operator
            .request(Method::PATCH, &path(tenant.id))
            .header("if-match", condition.to_owned())
            .json(&json!({"quotas": {"bytes": 5}}))
    };
    operator.send(patch("\"other\"")).await.assert_problem(412, "precondition_failed");
    operator.send(patch(&etag)).await.expect(200);
    for (body, code) in [
        (json!({"status": "erasing"}), "invalid_value"),
        (json!({"quotas": {"memories": -1}}), "out_of_range"),
        (json!({"quotas": {"requests": 1}}), "unknown_field"),
        (json!({"id": "x"}), "unknown_field"),
    ] {
        operator.patch(&path(tenant.id), body).await.assert_problem(422, code);
    }
}

/// 16 writers at once, each with its own agent, so that nothing but the quota is in their way.
async fn write_at_once(app: &TestApp, tenant: &Tenant, each: usize) -> (usize, usize) {
    let sibling = app.sibling().await;
    let writers = (0..16).map(|writer| {
        let client = if writer % 2 == 0 { tenant.client.clone() } else { tenant.at(sibling.url()) };
        tokio::spawn(async move {
            let (mut stored, mut refused) = (0, 0);
            for turn in 0..each {
                let body = json!({"content": format!("{writer:02} writes {turn:02}")});
                let answer = client.post(&format!("/v1/agents/agent-{writer}/remember"), body).await;
                match answer.status {
                    201 => stored += 1,
                    _ => {
                        answer.assert_problem(429, "quota_exceeded");
                        refused += 1;
                    }
                }
            }
            (stored, refused)
        })
    });
    let (mut stored, mut refused) = (0, 0);
    for writer in writers.collect::<Vec<_>>() {
        let one = writer.await.expect("writes");
        (stored, refused) = (stored + one.0, refused + one.1);
    }
    (stored, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_are_exact_under_sixteen_writers() {
    let app = TestApp::start().await;
    let (operator, tenant) = (operator(&app).await, app.new_tenant().await);
    // What was there before the quota counts.
    tenant.remember("early", "stored before").await;
    operator.patch(&path(tenant.id), json!({"quotas": {"memories": 60}})).await.expect(200);
    assert_eq!(write_at_once(&app, &tenant, 8).await, (59, 69));
    assert_eq!(tenant.get("/v1/tenant").await.expect(200)["usage"]["memories"], 60);

    // Each content has 12 bytes.
    let bytes = tenant.get("/v1/tenant").await.expect(200)["usage"]["bytes"].as_i64().expect("bytes");
    assert_eq!(bytes, 59 * 12 + 13);
    let second = app.new_tenant().await;
    operator.patch(&path(second.id), json!({"quotas": {"bytes": 12 * 20 + 5}})).await.expect(200);
    assert_eq!(write_at_once(&app, &second, 4).await, (20, 44));
}

/// The quota comes into force while a writer stands before each of its statements in turn: what it stores is counted,
/// by it or by whoever sets the quota, and once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_set_in_the_middle_of_a_write_counts_it() {
    let app = TestApp::start().await;
    let operator = operator(&app).await;
    let proxy = Proxy::start(app.database.cluster.socket()).await;
    let slowed =
        app.sibling_through(proxy.options(&app.database.name), |config| config.database.write_timeout_ms = 20_000);
    let slowed = slowed.await;
    // One call of a function, and a transaction of many statements.
    for (body, stops) in [(json!({"content": "during"}), 1), (json!({"content": "during", "key": "k"}), 4)] {
        quota_in_the_middle(&app, &slowed, &proxy, &operator, (body, stops)).await;
    }
}

async fn quota_in_the_middle(
    app: &TestApp,
    slowed: &TestApp,
    proxy: &Proxy,
    operator: &Client,
    (body, stops): (Value, usize),
) {
    for step in 0.. {
        let tenant = app.new_tenant().await;
        let late = tenant.at(slowed.url());
        late.remember("ada", "before").await;
        proxy.allow(step);
        let done = AtomicBool::new(false);
        let write = async {
            late.remember_as("ada", body.clone()).await;
            done.store(true, Ordering::Relaxed);
        };
        let set = async {
            let held = wait_until_held_or(proxy, &done).await;
            let path = path(tenant.id);
            let set = operator.patch(&path, json!({"quotas": {"memories": 100}}));
            tokio::pin!(set);
            if tokio::time::timeout(Duration::from_millis(100), &mut set).await.is_err() {
                proxy.release();
                set.await.expect(200);
            }
            proxy.release();
            held
        };
        let ((), held) = tokio::join!(write, set);
        let totals = sqlx::query_scalar("SELECT memories FROM tenant_totals WHERE tenant_id = $1").bind(tenant.id);
        let totals: i64 = totals.fetch_one(&mut app.database.superuser().await).await.expect("totals");
        assert_eq!(totals, 2, "stopped at {step}");
        if !held {
            assert!(step >= stops, "the writer was stopped {step} times only");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_counts_what_is_forgotten_edited_and_replaced() {
    let app = TestApp::start().await;
    let (operator, tenant) = (operator(&app).await, app.new_tenant().await);
    operator.patch(&path(tenant.id), json!({"quotas": {"memories": 2, "bytes": 20}})).await.expect(200);
    let first = tenant.remember("ada", "0123456789").await;
    tenant.remember_as("ada", json!({"content": "abcdefghij", "key": "k"})).await;
    let refused = async |content: &str| {
        let answer = tenant.post("/v1/agents/ada/remember", json!({"content": content})).await;
        answer.assert_problem(429, "quota_exceeded");
    };
    refused("x").await;
    // Growing an existing one is refused too, and changes nothing; shrinking is welcome.
    let own = format!("/v1/memories/{}", first["id"].as_str().expect("an id"));
    tenant.patch(&own, json!({"content": "0123456789+"})).await.assert_problem(429, "quota_exceeded");
    assert_eq!(tenant.get(&own).await.expect(200), first);
    tenant.patch(&own, json!({"content": "01234"})).await.expect(200);
    tenant.post("/v1/agents/ada/remember", json!({"content": "abcdefghijklmno", "key": "k"})).await.expect(200);
    let more = json!({"content": "abcdefghijklmnop", "key": "k"});
    tenant.post("/v1/agents/ada/remember", more).await.assert_problem(429, "quota_exceeded");
    // A duplicate takes nothing.
    assert_eq!(tenant.post("/v1/agents/ada/remember", json!({"content": "01234"})).await.status, 200);
    tenant.delete(&own).await.expect(204);
    tenant.remember("ada", "56789").await;
    refused("x").await;
    // A lower quota refuses what grows and lets what shrinks pass; none lets everything pass.
    operator.patch(&path(tenant.id), json!({"quotas": {"memories": 1}})).await.expect(200);
    tenant.post("/v1/agents/ada/forget", json!({"filter": {"key": "k"}})).await.expect(200);
    refused("x").await;
    operator.patch(&path(tenant.id), json!({"quotas": null})).await.expect(200);
    tenant.remember("ada", "as much as you like").await;
    let usage = tenant.get("/v1/tenant").await.expect(200)["usage"].clone();
    let stored = ["agents", "memories", "bytes"].map(|name| usage[name].clone());
    assert_eq!(stored, [json!(1), json!(2), json!(24)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_sees_and_changes_its_own_settings() {
    let app = TestApp::start_with(|config| config.limits.results = 50).await;
    let tenant = app.new_tenant().await;
    let own = tenant.get("/v1/tenant").await;
    let body = own.expect(200);
    let settings =
        json!({"auto_create_agents": true, "keep_queries": false, "rewarm": true, "tokens_valid_from": null});
    assert_eq!(body["settings"], settings);
    assert_eq!((&body["limits"]["results"], &body["limits"]["content_bytes"]), (&json!(50), &json!(32768)));
    let changed = tenant.patch("/v1/tenant", json!({"auto_create_agents": false})).await;
    assert_ne!(changed.header("etag"), own.header("etag"));
    let warm = tenant.patch("/v1/tenant", json!({"keep_queries": true, "rewarm": false})).await;
    assert_eq!(
        (&warm.expect(200)["settings"]["keep_queries"], &warm.expect(200)["settings"]["rewarm"]),
        (&json!(true), &json!(false))
    );
    tenant.post("/v1/agents/new/remember", json!({"content": "x"})).await.assert_problem(404, "not_found");
    tenant.patch("/v1/tenant", json!({"auto_create_agents": null})).await.expect(200);
    tenant.remember("new", "x").await;
    let stale = tenant.request(Method::PATCH, "/v1/tenant").header("if-match", own.header("etag")).json(&json!({}));
    tenant.send(stale).await.assert_problem(412, "precondition_failed");
    for field in ["status", "quotas", "name", "tenant_id", "limits"] {
        tenant.patch("/v1/tenant", json!({field: "active"})).await.assert_problem(422, "unknown_field");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lower_limits_are_in_force_and_the_contracts_are_the_highest() {
    let app = TestApp::start_with(|config| {
        config.limits.content_bytes = 10;
        config.limits.tags = 1;
        config.limits.metadata_bytes = 20;
        config.limits.query_bytes = 5;
        config.limits.results = 3;
        config.limits.batch_memories = 2;
        config.limits.body_bytes = 2_000;
    })
    .await;
    let tenant = app.new_tenant().await;
    let memory =
        tenant.remember_as("ada", json!({"content": "0123456789", "tags": ["a"], "metadata": {"a": "b"}})).await;
    let own = format!("/v1/memories/{}", memory["id"].as_str().expect("an id"));
    for (body, status, code) in [
        (json!({"content": "0123456789a"}), 413, "content_too_large"),
        (json!({"content": "x", "tags": ["a", "b"]}), 422, "too_many_items"),
        (json!({"content": "x", "metadata": {"a": "0123456789abcdef"}}), 413, "metadata_too_large"),
        (json!({"content": "x".repeat(3_000)}), 413, "body_too_large"),
    ] {
        tenant.post("/v1/agents/ada/remember", body.clone()).await.assert_problem(status, code);
        if code != "body_too_large" {
            tenant.patch(&own, body).await.assert_problem(status, code);
        }
    }
    tenant.recall("ada", json!({"query": "12345", "k": 3})).await;
    for (body, code) in
        [(json!({"query": "123456"}), "field_too_long"), (json!({"query": "1", "k": 4}), "out_of_range")]
    {
        tenant.post("/v1/agents/ada/recall", body).await.assert_problem(422, code);
    }
    let batch = |count: usize| json!({"memories": vec![json!({"content": "x"}); count]});
    tenant.post("/v1/agents/ada/remember/batch", batch(2)).await.expect(200);
    tenant.post("/v1/agents/ada/remember/batch", batch(3)).await.assert_problem(413, "batch_too_large");
    tenant
        .put("/v1/agents/ada", json!({"metadata": {"a": "0123456789abcdef"}}))
        .await
        .assert_problem(413, "metadata_too_large");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_tenant_leaves_no_row_and_a_receipt_that_counts_them() {
    let app = TestApp::start().await;
    let (operator, tenant, bystander) = (operator(&app).await, app.new_tenant().await, app.new_tenant().await);
    operator.patch(&path(tenant.id), json!({"quotas": {"memories": 10_000}})).await.expect(200);
    for agent in ["ada", "bob"] {
        let memories: Vec<Value> = (0..100).map(|n| json!({"content": format!("{agent} {n}")})).collect();
        tenant.post(&format!("/v1/agents/{agent}/remember/batch"), json!({"memories": memories})).await.expect(200);
        app.issue(tenant.id, "all", Some(agent)).await;
    }
    tenant.post("/v1/agents/ada/forget", json!({"filter": {"key": "none"}})).await.expect(200);
    let forgotten = tenant.remember("ada", "forgotten").await;
    tenant.delete(&format!("/v1/memories/{}", forgotten["id"].as_str().expect("an id"))).await.expect(204);
    bystander.remember("ada", "still here").await;
    let (before, bystanders) = (rows(&app, tenant.id).await, rows(&app, bystander.id).await);

    operator.delete(&path(tenant.id)).await.expect(202);
    tenant.get("/v1/agents").await.assert_problem(401, "unauthenticated");
    let state = erased(&operator, tenant.id).await;
    assert_eq!(rows(&app, tenant.id).await, BTreeMap::new());
    assert_eq!(state["tenant"], json!(null));
    assert_eq!(state["erasure"]["counts"], json!(before));
    assert_eq!(rows(&app, bystander.id).await, bystanders);
    // Asked again, it answers with the same receipt.
    assert_eq!(operator.delete(&path(tenant.id)).await.expect(202), state["erasure"]);
    operator.patch(&path(tenant.id), json!({"status": "active"})).await.assert_problem(404, "not_found");
}

/// A table that nobody thought of would keep rows of tenants that are gone.
#[tokio::test(flavor = "multi_thread")]
async fn every_table_with_rows_of_tenants_is_erased() {
    let app = TestApp::start().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
          WHERE c.relnamespace = 'cairn'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1",
    )
    .fetch_all(&mut app.database.superuser().await)
    .await
    .expect("tables");
    let mut listed: Vec<&str> = erase::TABLES.to_vec();
    listed.sort_unstable();
    assert_eq!(listed, tables);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_under_way_is_waited_for_or_fails_but_never_outlives_the_erasure() {
    let app = TestApp::start().await;
    let (operator, tenant) = (operator(&app).await, Arc::new(app.new_tenant().await));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let tenant = tenant.clone();
            tokio::spawn(async move {
                let mut stored = 0;
                for turn in 0.. {
                    let body = json!({"content": format!("{writer} {turn}")});
                    let answer = tenant.post(&format!("/v1/agents/agent-{writer}/remember"), body).await;
                    match answer.status {
                        201 => stored += 1,
                        _ => {
                            answer.assert_problem(401, "unauthenticated");
                            return stored;
                        }
                    }
                }
                unreachable!("it ends when it is refused")
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    operator.delete(&path(tenant.id)).await.expect(202);
    let mut stored = 0;
    for writer in writers {
        stored += writer.await.expect("writes");
    }
    let state = erased(&operator, tenant.id).await;
    assert!(stored > 0);
    assert_eq!(state["erasure"]["counts"]["memories"], stored);
    assert_eq!(rows(&app, tenant.id).await, BTreeMap::new());
}

/// The process ends between any two statements; whoever comes next finishes the work, and the receipt is exact.
#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_cut_off_at_any_moment_is_finished_by_another() {
    let app = TestApp::start().await;
    let operator = operator(&app).await;
    for cut in [0, 1, 3, 6] {
        let tenant = app.new_tenant().await;
        // More than one batch of each table, so that whoever waits for another's batch finds more rows after it.
        for part in 0..12 {
            let agent = ["ada", "bob"][part % 2];
            let memories: Vec<Value> = (0..100).map(|n| json!({"content": format!("{agent} {part} {n}")})).collect();
            let batch = json!({"memories": memories});
            tenant.post(&format!("/v1/agents/{agent}/remember/batch"), batch).await.expect(200);
        }
        let before = rows(&app, tenant.id).await;
        let begun =
            erase::begin(app.db().clone(), Intent::of_operator(TenantId::OPERATOR), tenant.id, Default::default())
                .await;
        begun.expect("begins");
        // A worker that is dropped in the middle of whatever it does, as by kill -9.
        let (db, id) = (app.db().clone(), tenant.id);
        let (cut_here, reached) = tokio::sync::oneshot::channel();
        let mut cut_here = Some(cut_here);
        let worker = tokio::spawn(async move {
            let mut batches = 0;
            erase::finish(&db, id, |_, _| {
                batches += 1;
                if batches > cut
                    && let Some(signal) = cut_here.take()
                {
                    let _ = signal.send(());
                    std::thread::sleep(Duration::from_millis(5));
                }
            })
            .await
        });
        let _ = reached.await;
        worker.abort();
        let (one, two) =
            tokio::join!(erase::finish(app.db(), tenant.id, |_, _| {}), erase::finish(app.db(), tenant.id, |_, _| {}));
        one.and(two).expect("finishes");
        let state = operator.get(&path(tenant.id)).await.expect(200);
        assert_eq!(rows(&app, tenant.id).await, BTreeMap::new());
        assert_eq!(state["erasure"]["counts"], json!(before), "cut after {cut} batches");
        assert!(state["erasure"]["finished_at"].is_string());
    }
}
