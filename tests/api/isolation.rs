//! Isolation rests on two layers, and each alone holds: the tenant written into every statement,
//! and row security below it.

use cairn::db::self_check;
use cairn::ids::TenantId;
use cairn::usage::roll_up;
use reqwest::Method;
use serde_json::json;
use sqlx::{AssertSqlSafe, ConnectOptions};

use crate::circles::circle_of;
use crate::harness::proxy::Proxy;
use crate::harness::{Answer, Client, Tenant, TestApp};
use crate::jobs;
use crate::who_acts::circles::{self, Place};
use crate::who_acts::operations;

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
    let (tenant, _) = twins(&app).await;
    let path = async |content: &str| {
        let memory = tenant.remember("ada", content).await;
        format!("/v1/memories/{}", memory["id"].as_str().expect("an id"))
    };
    let (edited, forgotten) = (path("The kettle is broken.").await, path("Nothing is broken.").await);
    tenant.patch(&edited, json!({"content": "The kettle is mended."})).await.expect(200);
    let forget = tenant.request(Method::DELETE, &forgotten).header("idempotency-key", "once");
    tenant.send(forget).await.expect(204);
    write_usage(&app, &tenant).await;
    let mut superuser = app.database.superuser().await;
    // A job writes these, for scopes that are large.
    let indexed = "INSERT INTO scope_indexes (tenant_id, scope_id, dims, index_name, state, placements)
                   SELECT tenant_id, scope_id, dims, 'none', 'building', 1 FROM placements LIMIT 1";
    sqlx::query(indexed).execute(&mut superuser).await.expect("a row");
    let session = |tenant: &'static str| {
        let options = app.database.options();
        async move {
            let options =
                options.options([("role", "cairn_app"), ("search_path", "cairn,public"), ("cairn.tenant", tenant)]);
            options.connect().await.expect("connects")
        }
    };
    let mut unused = Vec::new();
    for table in tenant_tables(&app).await {
        let count = format!("SELECT count(*) FROM {table}");
        let there = sqlx::query_scalar::<_, i64>(AssertSqlSafe(count.clone())).fetch_one(&mut superuser).await;
        if there.expect("counts") == 0 {
            unused.push(table.clone());
        }
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
    // The server writes one of these in its own time, and the other while it erases.
    unused.retain(|table| !["circle_recalls", "tenant_totals"].contains(&table.as_str()));
    assert!(unused.is_empty(), "tables without rows prove nothing: {unused:?}");
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

/// An instance that recalls and changes something, writes what it counted by ending, and has it rolled up.
async fn write_usage(app: &TestApp, tenant: &Tenant) {
    let busy = app.sibling().await;
    let client = tenant.at(busy.url());
    client.recall("ada", json!({"query": "kettle"})).await;
    client.remember("ada", "The other kettle is whole.").await;
    // Listeners hear of the change before the end, and after it nothing is counted.
    while client.get("/v1/cache/stats").await.expect(200)["kinds"][1]["layers"][0]["entries"] != 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    busy.app.close().await;
    roll_up(app.db()).await.expect("rolls up");
}

/// Two tenants that hold the same names, so that a leak has something to find.
async fn twins(app: &TestApp) -> (Tenant, Tenant) {
    let (one, two) = (app.new_tenant().await, app.new_tenant().await);
    for (tenant, own) in [(&one, "one's kettle"), (&two, "two's kettle")] {
        circle_of(tenant, "kitchen", &[("ada", "owner"), ("bob", "editor")]).await;
        let memory = json!({"content": own, "key": "k", "tags": ["t"], "circles": ["kitchen"]});
        tenant.remember_as("ada", memory).await;
        tenant.post("/v1/circles/kitchen/tasks", json!({"title": own, "assignee": "bob"})).await.expect(201);
        let job = jobs::new_job(app, tenant.id, "0 0 1 1 *").await;
        jobs::enqueue(app, tenant.id, job).await;
    }
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
    assert_eq!(tenant.get("/v1/agents").await.expect(200)["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(tenant.get("/v1/agents/ada/stats").await.expect(200)["memories"], 1);
    assert_eq!(tenant.get("/v1/tenant/export").await.text.lines().count(), 1);
    let id = list["items"][0]["id"].as_str().expect("id");
    assert_eq!(tenant.get(&format!("/v1/memories/{id}/history")).await.expect(200)["items"][0]["content"], own);
}

/// Of the circle that both tenants have.
async fn sees_its_own_kitchen_alone(tenant: &Tenant, own: &str) {
    assert_eq!(tenant.recalled("bob", json!({"query": "kettle", "within": {"circles": ["kitchen"]}})).await, [own]);
    let items = async |path: &str| {
        let page = tenant.get(&format!("/v1/circles{path}")).await.expect(200);
        page["items"].as_array().expect("items").clone()
    };
    assert_eq!(items("").await.len(), 1);
    assert_eq!(items("/kitchen/members").await.len(), 2);
    assert_eq!(items("/kitchen/shares").await.len(), 1);
    for path in ["/kitchen/memories", "/kitchen/tasks"] {
        let found = items(path).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!([&found[0]["content"], &found[0]["title"]].contains(&&json!(own)), "{found:?}");
    }
    let found = tenant.post("/v1/circles/kitchen/recall", json!({"query": "kettle"})).await.expect(200);
    assert_eq!(found["results"].as_array().map(Vec::len), Some(1));
    let context = tenant.get("/v1/circles/kitchen/context").await.expect(200);
    assert_eq!((&context["memories"]["count"], &context["tasks"]["counts"]["open"]), (&json!(1), &json!(1)));
    assert_eq!(context["members"].as_array().map(Vec::len), Some(2));
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
    for (tenant, own) in [(&one, "one's kettle"), (&two, "two's kettle")] {
        sees_its_own_alone(tenant, own).await;
        sees_its_own_kitchen_alone(tenant, own).await;
    }
    assert_eq!(
        one.post("/v1/agents/ada/forget", json!({"filter": {"tags_any": ["t"]}})).await.expect(200)["forgotten"],
        1
    );
    one.remember_as("ada", json!({"content": "one's new kettle", "key": "k"})).await;
    sees_its_own_alone(&one, "one's new kettle").await;
    one.delete("/v1/agents/ada").await.expect(200);
    one.delete("/v1/circles/kitchen").await.expect(200);
    sees_its_own_alone(&two, "two's kettle").await;
    sees_its_own_kitchen_alone(&two, "two's kettle").await;
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
    // What this instance counts of its own is not to be mistaken for something that the others wrote.
    let app = TestApp::start_with(|config| config.usage.enabled = false).await;
    let (one, two) = twins(&app).await;
    let before = (rows(&app, one.id).await, rows(&app, two.id).await);
    for (argument, session) in [(&one, &two), (&two, &one)] {
        let proxy = Proxy::lying(app.database.cluster.socket(), argument.id.to_string(), session.id.to_string()).await;
        let instance = app.sibling_through(proxy.options(&app.database.name), |_| {}).await;
        let first = async |path: &str| {
            let list = argument.get(path).await.expect(200);
            list["items"][0]["id"].as_str().expect("an id").to_owned()
        };
        let memory = first("/v1/agents/ada/memories").await;
        let task = first("/v1/circles/kitchen/tasks").await;
        let caller = argument.client.at(instance.url());
        try_everything(&caller, &memory).await;
        try_every_route_of_circles(&caller, &memory, &task).await;
        assert_eq!(instance.purge_expired(argument.id, 10).await, 0);
        // The last that it does is to write what it counted.
        instance.app.close().await;
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

/// The gate lets all of it pass; below it, nothing is there and nothing can be put there.
async fn try_every_route_of_circles(caller: &Client, memory: &str, task: &str) {
    let routes = operations().into_iter().filter(|operation| operation.path.contains("/circles"));
    for operation in routes {
        let path = operation.path.replace("{circle_id}", "kitchen").replace("{agent_id}", "bob");
        let path = path.replace("{task_id}", task).replace("{id}", memory);
        let body = circles::body(&operation, Place::Circle(0));
        for caller in [caller, &caller.acting_as("ada")] {
            let request = caller.request(operation.method.clone(), &path);
            let answer = caller.send(if operation.has_body { request.json(&body) } else { request }).await;
            let case = format!("{} {path}: {} {}", operation.method, answer.status, answer.text);
            let reads = operation.scope.as_deref() == Some("circles:read");
            assert!([404, 500].contains(&answer.status) || (reads && answer.status == 200), "{case}");
            assert!(!["'s kettle", "\"ada\"", "\"bob\""].iter().any(|own| answer.text.contains(own)), "{case}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_keys_of_another_tenant_are_never_in_the_way() {
    let app = TestApp::start().await;
    let (one, two) = twins(&app).await;
    let again = one.post("/v1/agents/ada/remember", json!({"content": "two's kettle"})).await;
    assert_eq!(again.status, 201, "equal content of another tenant is no duplicate");
    assert_eq!(two.put("/v1/agents/only-one", json!({})).await.status, 201);
    assert_eq!(one.put("/v1/agents/only-one", json!({})).await.status, 201);
    for tenant in [one, two] {
        tenant.put("/v1/circles/only-one", json!({"name": "One"})).await.expect(201);
    }
}
