//! Isolation rests on two layers, and each alone holds: the tenant written into every statement,
//! and row security below it.

use cairn::db::self_check;
use cairn::ids::TenantId;
use cairn::memories::purge_expired;
use serde_json::json;
use sqlx::{AssertSqlSafe, ConnectOptions};

use crate::harness::proxy::Proxy;
use crate::harness::{Answer, Client, Tenant, TestApp};

/// Tables of the schema that belong to tenants.
async fn tenant_tables(app: &TestApp) -> Vec<String> {
    let mut superuser = app.database.superuser().await;
    let tables = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
          WHERE c.relnamespace = 'cairn'::regnamespace AND c.relkind = 'r' ORDER BY 1",
    );
    let tables: Vec<String> = tables.fetch_all(&mut superuser).await.expect("tables");
    assert!(tables.len() >= 10, "{tables:?}");
    tables
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_tenant_every_table_is_empty() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is broken.").await;
    let session = |tenant: &'static str| {
        let options = app.database.options();
        async move {
            let options =
                options.options([("role", "cairn_app"), ("search_path", "cairn,public"), ("cairn.tenant", tenant)]);
            options.connect().await.expect("connects")
        }
    };
    for table in tenant_tables(&app).await {
        let count = format!("SELECT count(*) FROM {table}");
        for setting in ["", "00000000-0000-0000-0000-000000000000"] {
            let rows: i64 = sqlx::query_scalar(AssertSqlSafe(count.clone()))
                .fetch_one(&mut session(setting).await)
                .await
                .expect("counts");
            assert_eq!(rows, 0, "{table} with tenant {setting:?}");
        }
        let wrong =
            sqlx::query_scalar::<_, i64>(AssertSqlSafe(count)).fetch_one(&mut session("not a uuid").await).await;
        assert!(wrong.is_err(), "{table} with a tenant that is no UUID");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_does_not_start_where_row_security_would_not_hold() {
    let app = TestApp::start().await;
    self_check(app.db().background()).await.expect("a sound schema");
    let mut superuser = app.database.superuser().await;
    let refused = async |break_it: &'static str, mend_it: &'static str, superuser: &mut sqlx::PgConnection| {
        sqlx::raw_sql(break_it).execute(&mut *superuser).await.expect("breaks");
        let error = self_check(app.db().background()).await.expect_err("must be refused");
        sqlx::raw_sql(mend_it).execute(&mut *superuser).await.expect("mends");
        error.to_string()
    };
    let error = refused(
        "ALTER TABLE memories DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE memories ENABLE ROW LEVEL SECURITY",
        &mut superuser,
    )
    .await;
    assert!(error.contains("memories"), "{error}");
    let error =
        refused("CREATE POLICY extra ON agents USING (true)", "DROP POLICY extra ON agents", &mut superuser).await;
    assert!(error.contains("agents"), "{error}");
    let error = refused(
        "ALTER TABLE placements OWNER TO cairn_app",
        "ALTER TABLE placements OWNER TO cairn_owner",
        &mut superuser,
    )
    .await;
    assert!(error.contains("placements"), "{error}");
    self_check(app.db().background()).await.expect("mended");

    // As a superuser, whom row security does not bind.
    let pool = sqlx::PgPool::connect_lazy_with(app.database.options().options([("search_path", "cairn,public")]));
    assert!(self_check(&pool).await.expect_err("must be refused").to_string().contains("postgres"));
}

/// Two tenants that hold the same names, so that a leak has something to find.
async fn twins(app: &TestApp) -> (Tenant, Tenant) {
    let (one, two) = (app.new_tenant().await, app.new_tenant().await);
    one.remember_as("ada", json!({"content": "one's kettle", "key": "k", "tags": ["t"]})).await;
    two.remember_as("ada", json!({"content": "two's kettle", "key": "k", "tags": ["t"]})).await;
    (one, two)
}

async fn sees_its_own_alone(tenant: &Tenant, own: &str) {
    assert_eq!(tenant.recalled("ada", json!({"query": "kettle", "k": 100})).await, [own]);
    assert_eq!(
        tenant.recalled("ada", json!({"query": "kettle", "mode": "lexical", "filter": {"key": "k"}})).await,
        [own]
    );
    let list = tenant.get("/v1/agents/ada/memories").await.expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(tenant.get("/v1/agents").await.expect(200)["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(tenant.get("/v1/agents/ada/stats").await.expect(200)["memories"], 1);
    assert_eq!(tenant.get("/v1/tenant/export").await.text.lines().count(), 1);
    let id = list["items"][0]["id"].as_str().expect("id");
    assert_eq!(tenant.get(&format!("/v1/memories/{id}/history")).await.expect(200)["items"][0]["content"], own);
}

#[tokio::test(flavor = "multi_thread")]
async fn isolation_holds_with_row_security_disabled() {
    let app = TestApp::start().await;
    let (one, two) = twins(&app).await;
    let mut superuser = app.database.superuser().await;
    for table in tenant_tables(&app).await {
        let sql = format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY");
        sqlx::query(AssertSqlSafe(sql)).execute(&mut superuser).await.expect("disables");
    }
    sees_its_own_alone(&one, "one's kettle").await;
    sees_its_own_alone(&two, "two's kettle").await;
    assert_eq!(
        one.post("/v1/agents/ada/forget", json!({"filter": {"tags_any": ["t"]}})).await.expect(200)["forgotten"],
        1
    );
    one.remember_as("ada", json!({"content": "one's new kettle", "key": "k"})).await;
    sees_its_own_alone(&one, "one's new kettle").await;
    one.delete("/v1/agents/ada").await.expect(200);
    sees_its_own_alone(&two, "two's kettle").await;
}

/// Every table with the rows of one tenant, as text.
async fn rows(app: &TestApp, tenant: TenantId) -> Vec<String> {
    let mut superuser = app.database.superuser().await;
    let mut rows = Vec::new();
    for table in tenant_tables(app).await {
        let sql = format!("SELECT '{table}' || t::text FROM {table} t WHERE tenant_id = $1 ORDER BY 1");
        rows.extend(
            sqlx::query_scalar::<_, String>(AssertSqlSafe(sql))
                .bind(tenant)
                .fetch_all(&mut superuser)
                .await
                .expect("rows"),
        );
    }
    rows
}

/// Every statement of the server runs with the session bound to one tenant and the arguments of another.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_one_tenant_reads_and_writes_nothing_of_another() {
    let app = TestApp::start().await;
    let (one, two) = twins(&app).await;
    let memory =
        one.get("/v1/agents/ada/memories").await.expect(200)["items"][0]["id"].as_str().expect("id").to_owned();
    let before = (rows(&app, one.id).await, rows(&app, two.id).await);
    for (argument, session) in [(&one, &two), (&two, &one)] {
        let proxy = Proxy::lying(app.database.cluster.socket(), argument.id.to_string(), session.id.to_string()).await;
        let instance = app.sibling_through(proxy.options(&app.database.name), |_| {}).await;
        try_everything(&argument.client.at(instance.url()), &memory).await;
        assert_eq!(purge_expired(instance.db().clone(), argument.id, 10).await.expect("runs"), 0);
    }
    assert_eq!((rows(&app, one.id).await, rows(&app, two.id).await), before, "something was written");
}

async fn try_everything(caller: &Client, memory: &str) {
    let path = format!("/v1/memories/{memory}");
    let history = format!("{path}/history");
    for (method, path) in
        [("GET", "/v1/agents/ada"), ("GET", &path), ("GET", &history), ("DELETE", &path), ("DELETE", "/v1/agents/ada")]
    {
        let answer = caller.send(caller.request(method.parse().expect("a method"), path)).await;
        answer.assert_problem(404, "not_found");
    }
    assert_eq!(caller.get("/v1/agents").await.expect(200)["items"], json!([]));
    assert_eq!(caller.get("/v1/agents/ada/memories").await.expect(200)["items"], json!([]));
    assert_eq!(caller.get("/v1/agents/ada/stats").await.expect(200)["memories"], 0);
    for export in ["/v1/agents/ada/export", "/v1/tenant/export"] {
        assert_eq!(caller.get(export).await.text, "");
    }
    for mode in ["hybrid", "semantic", "lexical"] {
        assert!(caller.recalled("ada", json!({"query": "kettle", "mode": mode})).await.is_empty());
    }
    // Writing for the other tenant is refused by the policy itself; where there is nothing to write to, as not found.
    let refused = async |answer: Answer| assert!([404, 500].contains(&answer.status), "{}", answer.text);
    refused(caller.post("/v1/agents/ada/remember", json!({"content": "x", "key": "k"})).await).await;
    refused(caller.post("/v1/agents/new/remember", json!({"content": "x"})).await).await;
    refused(caller.post("/v1/agents/ada/forget", json!({"filter": {"kinds": ["fact"]}})).await).await;
    refused(caller.put("/v1/agents/ada", json!({"name": "x"})).await).await;
    refused(caller.patch("/v1/agents/ada", json!({"name": "x"})).await).await;
    refused(caller.patch(&path, json!({"content": "x"})).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_keys_of_another_tenant_are_never_in_the_way() {
    let app = TestApp::start().await;
    let (one, two) = twins(&app).await;
    let again = one.post("/v1/agents/ada/remember", json!({"content": "two's kettle"})).await;
    assert_eq!(again.status, 201, "equal content of another tenant is no duplicate");
    assert_eq!(two.put("/v1/agents/only-one", json!({})).await.status, 201);
    assert_eq!(one.put("/v1/agents/only-one", json!({})).await.status, 201);
}
