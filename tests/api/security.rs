//! What the OWASP API Security Top 10 (2023) asks for and no other file proves; docs/security.md is the table.

use std::time::Duration;

use cairn::server;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::TestApp;

/// Row 3: members that only the server may set are refused by name, wherever a body is taken.
#[tokio::test(flavor = "multi_thread")]
async fn every_body_refuses_members_that_are_the_servers_business() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let operator = app.client(cairn::ids::TenantId::OPERATOR, "platform", None).await;
    tenant.remember("ada", "here").await;
    tenant.put("/v1/circles/tea", json!({"name": "Tea"})).await.expect(201);
    let internal = [
        "tenant_id",
        "tag",
        "role",
        "owner_id",
        "version",
        "created_at",
        "updated_at",
        "agent_uid",
        "scope_id",
        "embedding",
        "secret_hash",
        "revoked_at",
        "__proto__",
    ];
    let specification = serde_json::to_value(server::openapi()).expect("JSON");
    let mut bodies = 0;
    for (path, item) in specification["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("an item") {
            if operation.get("requestBody").is_none() {
                continue;
            }
            bodies += 1;
            let caller = if path.contains("/platform/") { &operator } else { &tenant.client };
            let id = uuid::Uuid::now_v7().to_string();
            let path = path.replace("{agent_id}", "ada").replace("{tenant_id}", &id).replace("{key_id}", &id);
            let path = path.replace("{id}", &id).replace("{circle_id}", "tea").replace("{task_id}", &id);
            // The one route whose business a role is.
            let internal = internal.into_iter().filter(|name| *name != "role" || !path.contains("/members/"));
            let method: Method = method.to_uppercase().parse().expect("a method");
            for name in internal {
                let answer = caller.send(caller.request(method.clone(), &path).json(&json!({name: "x"}))).await;
                assert_eq!(answer.status, 422, "{method} {path} with {name}: {}", answer.text);
                let problem = answer.json();
                let errors = problem["errors"].as_array().expect("errors");
                let named = errors
                    .iter()
                    .any(|error| error["code"] == "unknown_field" && error["pointer"] == format!("/{name}"));
                assert!(named, "{method} {path} with {name}: {problem}");
            }
        }
    }
    assert!(bodies >= 10, "{bodies} bodies");
}

/// Row 5: a method is what the request line says.
#[tokio::test(flavor = "multi_thread")]
async fn method_overrides_are_ignored() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let memory = tenant.remember("ada", "The kettle is broken.").await;
    let path = format!("/v1/memories/{}", memory["id"].as_str().expect("an id"));
    for header in ["x-http-method-override", "x-http-method", "x-method-override"] {
        let request = tenant.request(Method::GET, &path).header(header, "DELETE");
        assert_eq!(tenant.send(request).await.expect(200), memory);
    }
    let request = tenant.request(Method::GET, &format!("{path}?_method=DELETE"));
    tenant.send(request).await;
    tenant.get(&path).await.expect(200);
}

/// Row 8: nothing is allowed to pages of other origins, and no answer says what it is made with.
#[tokio::test(flavor = "multi_thread")]
async fn answers_open_nothing_to_other_origins_and_name_no_software() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let preflight = tenant
        .request(Method::OPTIONS, "/v1/agents")
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "GET");
    let ask = tenant.request(Method::GET, "/v1/agents").header("origin", "https://evil.example");
    for request in [preflight, ask] {
        let answer = tenant.send(request).await;
        for name in ["access-control-allow-origin", "access-control-allow-credentials", "server", "x-powered-by"] {
            assert_eq!(answer.header(name), "", "{name}");
        }
    }
}

/// Row 8: what goes wrong inside is told by code, never by statement, path or cause.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_inside_tells_nothing_of_the_inside() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "here").await;
    let mut superuser = app.database.superuser().await;
    sqlx::query("ALTER TABLE memories RENAME TO elsewhere").execute(&mut superuser).await.expect("renames");
    let problem = tenant.get("/v1/agents/ada/memories").await.assert_problem(500, "internal");
    let text = problem.to_string().to_lowercase();
    for word in ["memories\"", "select", "relation", "sqlx", ".rs", "postgres", "/src", "panicked"] {
        assert!(!text.contains(word), "{word} in {text}");
    }
}

/// Row 4: hundreds of clients that send a byte now and then keep nobody else from being served.
#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_slow_uploads_keep_nobody_waiting() {
    let app = TestApp::start_with(|config| config.http.body_deadline_secs = 5).await;
    let tenant = app.new_tenant().await;
    let head = format!(
        "POST /v1/agents/ada/remember HTTP/1.1\r\nhost: cairn\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{{",
        tenant.key
    );
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(app.address).await.expect("connects");
        stream.write_all(head.as_bytes()).await.expect("writes");
        slow.push(stream);
    }
    for n in 0..20 {
        let memory: Value = tenant.remember("bob", &format!("memory {n}")).await;
        assert_eq!(memory["agent_id"], "bob");
    }
    drop(slow);
    tokio::time::timeout(Duration::from_secs(5), tenant.get("/v1/agents/bob")).await.expect("served").expect(200);
}
