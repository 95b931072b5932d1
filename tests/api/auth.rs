//! Credentials: who gets in, as whom, and how fast a key dies.

use cairn::auth;
use cairn::db::Intent;
use cairn::ids::KeyId;
use reqwest::Method;
use serde_json::json;
use sqlx::Row;

use crate::harness::{Client, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_key_never_passes_and_every_refusal_reads_alike() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let key = tenant.key.clone();
    let parts: Vec<&str> = key.split('_').collect();
    let signed = |text: String| format!("{text}_{:08x}", crc32fast::hash(text.as_bytes()));
    let other = app.issue(tenant.id, "all", None).await;
    let other_secret = other.split('_').nth(3).expect("a secret");
    let broken = [
        "x".to_owned(),
        key[..key.len() - 1].to_owned(),
        format!("{key}0"),
        key.to_uppercase(),
        key.replace("_live_", "_test_"),
        signed(format!("cairn_test_{}_{}", parts[2], parts[3])),
        signed(format!("cairn_live_{}_{}", KeyId::new(), parts[3])),
        signed(format!("cairn_live_{}_{other_secret}", parts[2])),
        signed(format!("cairn_live_{}_{}", parts[2], "0".repeat(64))),
        signed(format!("cairn_live_{}_", parts[2])),
        signed(format!("cairn_live_not-a-uuid_{}", parts[3])),
        signed(format!("other_live_{}_{}", parts[2], parts[3])),
        "cairn_live_'; DROP TABLE api_keys; --_x_00000000".to_owned(),
        "eyJhbGciOiJub25lIn0.e30.".to_owned(),
        "k".repeat(4000),
    ];
    let mut bodies = Vec::new();
    for key in &broken {
        let mut problem = tenant.with_key(key).get("/v1/agents").await.assert_problem(401, "unauthenticated");
        problem["request_id"] = json!(null);
        bodies.push(problem);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:?}");
    tenant.get("/v1/agents").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_sent_once_and_as_bearer() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let raw = |value: String| app.stranger().request(Method::GET, "/v1/agents").header("authorization", value);
    for header in
        [String::new(), tenant.key.clone(), format!("Basic {}", tenant.key), "Bearer".into(), "Bearer ".into()]
    {
        tenant.send(raw(header)).await.assert_problem(401, "unauthenticated");
    }
    tenant.send(raw(format!("bearer {}", tenant.key))).await.expect(200);
    let twice = raw(format!("Bearer {}", tenant.key)).header("authorization", format!("Bearer {}", tenant.key));
    tenant.send(twice).await.assert_problem(400, "ambiguous_credentials");
    let refused = app.stranger().get("/v1/agents").await;
    refused.assert_problem(401, "unauthenticated");
    assert_eq!(refused.header("www-authenticate"), "Bearer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_on_the_very_next_call_of_every_instance() {
    let app = TestApp::start().await;
    let sibling = app.sibling().await;
    let tenant = app.new_tenant().await;
    for _ in 0..20 {
        let doomed = app.client(tenant.id, "all", None).await;
        let there = doomed.at(sibling.url());
        doomed.get("/v1/agents").await.expect(200);
        there.get("/v1/agents").await.expect(200);
        let id = KeyId::parse(doomed.key.split('_').nth(2).expect("an id")).expect("a UUID");
        auth::revoke_key(app.db().clone(), Intent::of_operator(tenant.id), id, None).await.expect("revokes");
        there.get("/v1/agents").await.assert_problem(401, "unauthenticated");
        doomed.get("/v1/agents").await.assert_problem(401, "unauthenticated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_ends_at_its_expiry_by_the_databases_clock() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let brief = app.client(tenant.id, "all", None).await;
    brief.get("/v1/agents").await.expect(200);
    let id = brief.key.split('_').nth(2).expect("an id").to_owned();
    let mut superuser = app.database.superuser().await;
    let expire = sqlx::query("UPDATE api_keys SET expires_at = now() WHERE key_id = $1::uuid").bind(id);
    expire.execute(&mut superuser).await.expect("expires");
    brief.get("/v1/agents").await.assert_problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenant_is_refused_on_the_very_next_call() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let bystander = app.new_tenant().await;
    tenant.remember("ada", "The kettle is broken.").await;
    let mut superuser = app.database.superuser().await;
    for (status, answer, code) in [("suspended", 403, "tenant_suspended"), ("erasing", 401, "unauthenticated")] {
        let set = sqlx::query("UPDATE tenants SET status = $1 WHERE tenant_id = $2").bind(status).bind(tenant.id);
        set.execute(&mut superuser).await.expect("sets the status");
        tenant.get("/v1/agents").await.assert_problem(answer, code);
        tenant.post("/v1/agents/ada/recall", json!({"query": "kettle"})).await.assert_problem(answer, code);
    }
    bystander.get("/v1/agents").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_kept_as_its_hash_alone() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let secret = tenant.key.split('_').nth(3).expect("a secret").to_owned();
    let mut superuser = app.database.superuser().await;
    let rows = sqlx::query("SELECT t::text AS row, octet_length(secret_hash) AS bytes FROM api_keys t");
    for row in rows.fetch_all(&mut superuser).await.expect("rows") {
        assert!(!row.get::<String, _>("row").contains(&secret));
        assert_eq!(row.get::<i32, _>("bytes"), 32);
    }
}

/// The table "Who acts" for the routes there are.
#[tokio::test(flavor = "multi_thread")]
async fn a_bound_credential_acts_as_its_agent_alone() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let adas = tenant.remember("ada", "Ada's kettle").await;
    let bobs = tenant.remember("bob", "Bob's kettle").await;
    let (own, foreign) = (
        format!("/v1/memories/{}", adas["id"].as_str().expect("id")),
        format!("/v1/memories/{}", bobs["id"].as_str().expect("id")),
    );
    let ada = app.client(tenant.id, "all", Some("ada")).await;

    ada.get(&own).await.expect(200);
    for path in
        ["/v1/agents/bob", "/v1/agents/bob/memories", "/v1/agents/bob/stats", "/v1/agents/nobody", foreign.as_str()]
    {
        ada.get(path).await.assert_problem(404, "not_found");
    }
    ada.post("/v1/agents/bob/recall", json!({"query": "kettle"})).await.assert_problem(404, "not_found");
    ada.post("/v1/agents/bob/forget", json!({"filter": {"kinds": ["fact"]}})).await.assert_problem(404, "not_found");
    ada.put("/v1/agents/bob", json!({})).await.assert_problem(404, "not_found");
    ada.patch(&foreign, json!({"kind": "event"})).await.assert_problem(404, "not_found");
    ada.delete(&foreign).await.assert_problem(404, "not_found");
    ada.delete("/v1/agents/bob").await.assert_problem(404, "not_found");
    let agents = ada.get("/v1/agents").await.expect(200);
    assert_eq!(agents["items"].as_array().map(Vec::len), Some(1));
    tenant.get(&foreign).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn cairn_agent_makes_an_unbound_caller_act_as_that_agent() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let adas = tenant.remember("ada", "Ada's kettle").await;
    let path = format!("/v1/memories/{}", adas["id"].as_str().expect("id"));
    let bound = app.client(tenant.id, "all", Some("ada")).await;
    let acting = |client: &Client, method: Method, path: &str, agent: &str| {
        client.request(method, path).header("cairn-agent", agent.to_owned())
    };

    tenant.send(acting(&tenant, Method::GET, &path, "ada")).await.expect(200);
    tenant.send(acting(&tenant, Method::GET, &path, "bob")).await.assert_problem(404, "not_found");
    tenant.send(acting(&tenant, Method::DELETE, &path, "bob")).await.assert_problem(404, "not_found");
    tenant.send(acting(&tenant, Method::GET, "/v1/agents/ada", "bob")).await.assert_problem(403, "agent_mismatch");
    tenant.send(acting(&bound, Method::GET, &path, "bob")).await.assert_problem(403, "agent_mismatch");
    tenant.send(acting(&bound, Method::GET, &path, "ada")).await.expect(200);
    tenant.send(acting(&tenant, Method::GET, &path, "no spaces")).await.assert_problem(422, "invalid_id");
    // A malformed id is the business of those who may ask.
    app.stranger().get("/v1/agents/no%20spaces").await.assert_problem(401, "unauthenticated");
}

/// The gate must stay one cheap statement, whatever the size of the tenant: index scans only.
#[tokio::test(flavor = "multi_thread")]
async fn the_gates_plan_is_pinned() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "here").await;
    let key = KeyId::parse(tenant.key.split('_').nth(2).expect("an id")).expect("a UUID");
    let mut superuser = app.database.superuser().await;
    fill(&mut superuser, tenant.id).await;

    let body: String = sqlx::query_scalar("SELECT prosrc FROM pg_proc WHERE proname = 'pass_gate' AND pronargs = 6")
        .fetch_one(&mut superuser)
        .await
        .expect("the gate");
    let query = body
        .split("RETURN QUERY")
        .nth(1)
        .expect("a query")
        .split("END")
        .next()
        .expect("its end")
        .trim()
        .trim_end_matches(';');
    let parameters = ["presented_key", "presented_tenant", "signed_by", "narrowed_to", "subject", "wanted_circle"];
    let query = parameters
        .iter()
        .enumerate()
        .fold(query.to_owned(), |query, (index, name)| query.replace(name, &format!("${}", index + 1)));
    let settings: Vec<String> =
        sqlx::query_scalar("SELECT unnest(proconfig) FROM pg_proc WHERE proname = 'pass_gate' AND pronargs = 6")
            .fetch_all(&mut superuser)
            .await
            .expect("its settings");
    let settings: String = settings.iter().map(|setting| format!("SET {setting};")).collect();
    let prepare = format!("{settings} PREPARE gate (uuid, uuid, uuid, uuid, text, text) AS {query}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(prepare)).execute(&mut superuser).await.expect("prepares");
    let explain = format!(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE gate ('{key}', NULL, '{key}', NULL, 'ada', 'circle-7')"
    );
    let mut plan = json!(null);
    // The first execution reads from disk; the plan counts, not the cold cache.
    for _ in 0..3 {
        let row =
            sqlx::raw_sql(sqlx::AssertSqlSafe(explain.clone())).fetch_one(&mut superuser).await.expect("explains");
        plan = row.get::<serde_json::Value, _>(0);
    }
    let text = plan.to_string();
    assert!(!text.contains("Seq Scan") && !text.contains("Hash Join") && !text.contains("Merge Join"), "{plan:#}");
    let buffers = plan[0]["Plan"]["Shared Hit Blocks"].as_i64().expect("hits")
        + plan[0]["Plan"]["Shared Read Blocks"].as_i64().expect("reads");
    assert!(buffers <= 300, "{buffers} buffers");
    let members = tenant.post("/v1/agents/ada/recall", json!({"query": "here"})).await;
    assert_eq!(tenant.acting_as("ada").get("/v1/circles/circle-1").await.expect(200)["role"], "reader");
    assert_eq!(members.expect(200)["results"].as_array().map(Vec::len), Some(1));
}

/// 100,000 agents, and one of them in 64 circles.
async fn fill(superuser: &mut sqlx::PgConnection, tenant: cairn::ids::TenantId) {
    let sql = format!(
        "INSERT INTO agents (tenant_id, agent_uid, agent_id) SELECT '{tenant}', gen_random_uuid(), 'agent-' || n FROM generate_series(1, 100000) n;
         INSERT INTO scope_epochs (tenant_id, scope_id, tag) SELECT tenant_id, agent_uid, gen_random_uuid() FROM agents WHERE agent_id LIKE 'agent-%';
         INSERT INTO circles (tenant_id, circle_uid, circle_id, name, content_scope, board_scope)
              SELECT '{tenant}', gen_random_uuid(), 'circle-' || n, 'c', gen_random_uuid(), gen_random_uuid() FROM generate_series(1, 2000) n;
         INSERT INTO scope_epochs (tenant_id, scope_id, tag) SELECT tenant_id, content_scope, gen_random_uuid() FROM circles;
         INSERT INTO circle_members (tenant_id, agent_uid, circle_uid, role, circle_id, content_scope)
              SELECT a.tenant_id, a.agent_uid, c.circle_uid, 'reader', c.circle_id, c.content_scope FROM agents a,
                     (SELECT * FROM circles ORDER BY circle_id LIMIT 64) c WHERE a.agent_id = 'ada';
         ANALYZE agents, scope_epochs, circles, circle_members, api_keys, tenants, tenant_secrets;"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(superuser).await.expect("fills");
}
