//! Frequent recalls: counted by a keyed hash, kept only where the tenant says so, gone with what they are of.

use cairn::usage::{open_query, top_queries};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;

use super::ask_often;
use crate::harness::{Tenant, TestApp};

const MARKER: &str = "xylophone";

async fn keep_queries(tenant: &Tenant, keep: bool) {
    tenant.patch("/v1/tenant", json!({ "keep_queries": keep })).await.expect(200);
}

/// What is kept of the tenant's questions: recalls, hits, and the request.
async fn kept(app: &TestApp, tenant: &Tenant) -> Vec<(i64, i64, Option<Value>)> {
    let mut conn = app.db().read(tenant.id).await.expect("reads");
    let since = OffsetDateTime::now_utc() - time::Duration::HOUR;
    let queries = top_queries(&mut conn, tenant.id, None, since, 10).await.expect("queries");
    let open = |sealed: Vec<u8>| {
        let request = open_query(&app.app.secret_key, tenant.id, &sealed).expect("opens");
        serde_json::from_slice(&request).expect("JSON")
    };
    queries.into_iter().map(|query| (query.recalls, query.hits, query.sealed.map(open))).collect()
}

/// An instance that writes what it counted by ending.
async fn asked(app: &TestApp, tenant: &Tenant, question: &str, times: usize) {
    let instance = app.sibling().await;
    ask_often(&tenant.at(instance.url()), "ada", question, times).await;
    instance.app.close().await;
}

/// Every value of every table that reads as this word, in text or in bytes.
async fn mentions(app: &TestApp, word: &str) -> Vec<String> {
    let mut superuser = app.database.superuser().await;
    let tables = "SELECT relname::text FROM pg_class WHERE relnamespace = 'cairn'::regnamespace AND relkind = 'r'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut superuser).await.expect("tables");
    let mut found = Vec::new();
    let hex: String = word.bytes().map(|byte| format!("{byte:02x}")).collect();
    for table in tables {
        let sql = format!("SELECT '{table}: ' || t::text FROM {table} t WHERE t::text ~* '{word}|{hex}'");
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut superuser).await.expect("rows");
        found.extend(rows);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn no_question_is_readable_in_the_database_and_none_is_kept_unless_the_tenant_wants_it() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is in the kitchen.").await;
    let question = format!("where is the {MARKER}");
    asked(&app, &tenant, &question, 3).await;
    assert_eq!(kept(&app, &tenant).await, [(3, 2, None)]);
    assert_eq!(mentions(&app, MARKER).await, Vec::<String>::new());

    keep_queries(&tenant, true).await;
    asked(&app, &tenant, &question, 2).await;
    let (recalls, _, request) = kept(&app, &tenant).await.remove(0);
    assert_eq!(recalls, 5);
    let request = request.expect("it is kept");
    assert_eq!((&request["query"], &request["k"]), (&json!(question), &json!(10)));
    assert_eq!(mentions(&app, MARKER).await, Vec::<String>::new(), "it is sealed");
    // The request is one that can be sent, and is answered from the same place.
    let instance = app.sibling().await;
    let client = tenant.at(instance.url());
    client.post("/v1/agents/ada/recall", request.clone()).await.expect(200);
    let again = client.post("/v1/agents/ada/recall", json!({ "query": question })).await;
    assert!(again.header("cairn-cache").starts_with("hit"), "{request}");

    keep_queries(&tenant, false).await;
    assert!(kept(&app, &tenant).await.iter().all(|(_, _, request)| request.is_none()));
    assert_eq!(kept(&app, &tenant).await[0].0, 5, "the count stays");
}

/// So that the scan above proves something.
#[tokio::test(flavor = "multi_thread")]
async fn a_word_that_is_kept_would_be_found() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", &format!("The {MARKER} is in the attic.")).await;
    assert!(!mentions(&app, MARKER).await.is_empty());
    super::run(&app, &format!("INSERT INTO server_secrets (purpose, sealed) VALUES ('test', 'a {MARKER}'::bytea)"))
        .await;
    assert!(mentions(&app, MARKER).await.iter().any(|row| row.starts_with("server_secrets")));
}

#[tokio::test(flavor = "multi_thread")]
async fn turning_it_off_is_not_undone_by_what_is_written_late() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is in the kitchen.").await;
    keep_queries(&tenant, true).await;
    let late = app.sibling().await;
    ask_often(&tenant.at(late.url()), "ada", "where is the kettle", 2).await;
    keep_queries(&tenant, false).await;
    late.app.close().await;
    assert_eq!(kept(&app, &tenant).await, [(2, 1, None)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn forgetting_takes_the_kept_questions_along() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is in the kitchen.").await;
    keep_queries(&tenant, true).await;
    asked(&app, &tenant, "where is the kettle", 2).await;
    assert!(kept(&app, &tenant).await[0].2.is_some());
    tenant.post("/v1/agents/ada/forget", json!({"filter": {"kinds": ["fact"]}})).await.expect(200);
    assert_eq!(kept(&app, &tenant).await, [(2, 1, None)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_erased_agent_asked_is_gone_and_does_not_come_back() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is in the kitchen.").await;
    keep_queries(&tenant, true).await;
    asked(&app, &tenant, "where is the kettle", 2).await;
    let late = app.sibling().await;
    ask_often(&tenant.at(late.url()), "ada", "where is the kettle", 3).await;
    tenant.delete("/v1/agents/ada").await.expect(200);
    late.app.close().await;
    assert_eq!(kept(&app, &tenant).await, []);
    let mut superuser = app.database.superuser().await;
    let rows: Vec<(bool, i64)> = sqlx::query_as(
        "SELECT agent_uid = '00000000-0000-0000-0000-000000000000', sum(recalls)::bigint
           FROM usage_agents WHERE tenant_id = $1 GROUP BY 1",
    )
    .bind(tenant.id)
    .fetch_all(&mut superuser)
    .await
    .expect("rows");
    assert_eq!(rows, [(true, 5)], "the sum stays, and names nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_deleted_circle_was_asked_is_gone() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    crate::circles::circle_of(&tenant, "kitchen", &[("ada", "owner")]).await;
    let instance = app.sibling().await;
    let client = tenant.at(instance.url());
    client.post("/v1/circles/kitchen/recall", json!({"query": "kettle"})).await.expect(200);
    instance.app.close().await;
    assert_eq!(kept(&app, &tenant).await, [(1, 0, None)]);
    tenant.delete("/v1/circles/kitchen").await.expect(200);
    assert_eq!(kept(&app, &tenant).await, []);
}
