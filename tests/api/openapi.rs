//! The specification and the server are one: what is described is served, what is served is described,
//! and every route keeps the same promises about who may call it.

use std::collections::BTreeSet;
use std::time::Duration;

use cairn::server;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::TestApp;

/// An operation of the specification.
struct Operation {
    method: Method,
    path: String,
    open: bool,
    has_body: bool,
}

fn operations() -> Vec<Operation> {
    let specification = serde_json::to_value(server::openapi()).expect("JSON");
    let mut operations = Vec::new();
    for (path, item) in specification["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("an item") {
            let Ok(method) = method.to_uppercase().parse() else { continue };
            operations.push(Operation {
                method,
                path: path.clone(),
                open: operation["security"] == json!([]),
                has_body: operation.get("requestBody").is_some(),
            });
        }
    }
    assert!(operations.len() >= 18, "the walk found {} operations", operations.len());
    operations
}

fn behind_authentication() -> Vec<Operation> {
    operations().into_iter().filter(|operation| !operation.open).collect()
}

/// A path with its parameters filled in.
fn filled(path: &str, agent: &str, memory: &str) -> String {
    let path = path.replace("{agent_id}", agent).replace("{circle_id}", agent);
    let ids = ["{id}", "{key_id}", "{tenant_id}", "{task_id}", "{warmup_id}", "{run_id}"];
    ids.iter().fold(path, |path, name| path.replace(name, memory))
}

const SOME_MEMORY: &str = "01a1fa79-97bc-72a0-a2c2-77faa28e7290";

#[test]
fn the_committed_specification_is_the_one_served() {
    let committed = include_str!("../../openapi/openapi.json");
    let served = server::openapi().to_pretty_json().expect("JSON");
    assert_eq!(committed.trim(), served.trim(), "run `make openapi`");
}

#[test]
fn the_committed_guide_to_errors_is_the_one_in_force() {
    let committed = include_str!("../../docs/errors.md");
    assert_eq!(committed.trim(), cairn::http::error_guide().trim(), "run `make openapi`");
}

#[test]
fn every_operation_is_named_and_documents_its_errors() {
    let specification = serde_json::to_value(server::openapi()).expect("JSON");
    let mut names = BTreeSet::new();
    for (path, item) in specification["paths"].as_object().expect("paths") {
        for operation in
            item.as_object().expect("an item").values().filter(|operation| operation["operationId"].is_string())
        {
            assert!(names.insert(operation["operationId"].to_string()), "{path}: two operations have one name");
            assert!(operation["summary"].is_string(), "{path} has no summary");
            if path.starts_with("/v1") {
                assert!(operation["responses"]["422"].is_object(), "{path} does not document its errors");
            }
        }
    }
    check_references(&specification, &specification);
}

/// Routes that write nothing, whatever their method.
const NO_WRITES: [&str; 4] = ["/recall", "/context", "/preview", "/auth/token"];

#[test]
fn every_write_can_be_sent_twice() {
    let specification = serde_json::to_value(server::openapi()).expect("JSON");
    let mut seen = 0;
    for operation in operations().iter().filter(|operation| operation.method != Method::GET) {
        if NO_WRITES.iter().any(|route| operation.path.ends_with(route)) {
            continue;
        }
        let described = &specification["paths"][&operation.path][operation.method.as_str().to_lowercase()];
        let headers = described["parameters"].as_array().into_iter().flatten();
        let takes_key = headers.filter(|one| one["in"] == "header").any(|one| one["name"] == "Idempotency-Key");
        assert!(takes_key, "{} {} takes no Idempotency-Key", operation.method, operation.path);
        seen += 1;
    }
    assert!(seen >= 8, "{seen} writes");
}

/// That the header is there is seen to with every answer, by the harness.
#[test]
fn every_single_resource_has_an_etag() {
    let specification = serde_json::to_value(server::openapi()).expect("JSON");
    let mut seen = 0;
    for operation in operations().iter().filter(|operation| operation.path.ends_with('}')) {
        let described = &specification["paths"][&operation.path][operation.method.as_str().to_lowercase()];
        if operation.method == Method::DELETE {
            continue;
        }
        for (status, response) in described["responses"].as_object().expect("responses") {
            if status.starts_with('2') && response["content"].is_object() {
                let tagged = response["headers"]["ETag"].is_object();
                assert!(tagged, "{} {} {status} documents no ETag", operation.method, operation.path);
                seen += 1;
            }
        }
    }
    assert!(seen >= 6, "{seen} answers");
}

/// What can be patched, by schema, and what null makes of it.
#[tokio::test(flavor = "multi_thread")]
async fn null_sets_every_field_of_a_patch_back() {
    let specification = serde_json::to_value(server::openapi()).expect("JSON");
    let names = |schema: &str| -> Vec<String> {
        let properties = &specification["components"]["schemas"][schema]["properties"];
        properties.as_object().expect("properties").keys().cloned().collect()
    };
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let plain = tenant.remember("ada", "plain").await;
    let full = json!({"content": "full", "kind": "event", "key": "k", "tags": ["a"], "importance": 0.9, "metadata": {"a": 1},
        "speaker": "Mel", "source": {"type": "note", "id": "n", "seq": 1}, "occurred_at": "2026-01-01T00:00:00Z",
        "expires_at": "2999-01-01T00:00:00Z", "circles": ["c"]});
    tenant.put("/v1/circles/c", json!({"name": "C", "owner": "ada"})).await.expect(201);
    let memory = tenant.remember_as("ada", full).await;
    let path = format!("/v1/memories/{}", memory["id"].as_str().expect("id"));
    for name in names("MemoryPatch").iter().filter(|name| *name != "content") {
        assert_ne!(memory[name], plain[name], "{name} is not set in this test");
        let patched = tenant.patch(&path, json!({name: null})).await.expect(200);
        assert_eq!(patched[name], plain[name], "{name}");
    }
    let plain = tenant.put("/v1/agents/plain", json!({})).await.expect(201);
    let agent = tenant.put("/v1/agents/full", json!({"name": "Full", "metadata": {"a": 1}})).await.expect(201);
    for name in names("AgentPatch") {
        assert_ne!(agent[&name], plain[&name], "{name} is not set in this test");
        let patched = tenant.patch("/v1/agents/full", json!({&name: null})).await.expect(200);
        assert_eq!(patched[&name], plain[&name], "{name}");
    }
}

/// Every `$ref` leads somewhere.
fn check_references(value: &Value, whole: &Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                let pointer = reference.trim_start_matches('#');
                assert!(whole.pointer(pointer).is_some(), "{reference} leads nowhere");
            }
            map.values().for_each(|value| check_references(value, whole));
        }
        Value::Array(items) => items.iter().for_each(|item| check_references(item, whole)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_described_is_served_and_no_method_besides() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let described: BTreeSet<(String, String)> =
        operations().into_iter().map(|operation| (operation.path, operation.method.to_string())).collect();
    let paths: BTreeSet<&String> = described.iter().map(|(path, _)| path).collect();
    for path in paths {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let request = tenant.request(method.parse().expect("a method"), &filled(path, "ada", SOME_MEMORY));
            let answer = tenant.send(request).await;
            if described.contains(&(path.clone(), method.to_owned())) {
                assert_ne!(answer.status, 405, "{method} {path} is described but not served");
                assert!(!answer.text.contains("no such route"), "{method} {path} is described but not served");
            } else {
                answer.assert_problem(405, "method_not_allowed");
                assert!(!answer.header("allow").is_empty(), "{method} {path}");
            }
        }
    }
    tenant.get("/v1/nothing/here").await.assert_problem(404, "not_found");
    tenant.get("/nothing").await.assert_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_a_stranger_before_reading_the_body() {
    let app = TestApp::start().await;
    for operation in behind_authentication() {
        // The head announces a body that never comes.
        let mut stream = TcpStream::connect(app.address).await.expect("connects");
        let path = filled(&operation.path, "ada", SOME_MEMORY);
        let head = format!(
            "{} {path} HTTP/1.1\r\nhost: cairn\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n",
            operation.method
        );
        stream.write_all(head.as_bytes()).await.expect("writes");
        let mut answer = [0; 12];
        let read = tokio::time::timeout(Duration::from_secs(2), stream.read_exact(&mut answer)).await;
        read.unwrap_or_else(|_| panic!("{} {path} waits for the body", operation.method)).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 401", "{} {path}", operation.method);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_a_foreign_id_like_a_random_one() {
    let app = TestApp::start().await;
    let (owner, stranger) = (app.new_tenant().await, app.new_tenant().await);
    let memory = owner.remember("ada", "The kettle is broken.").await;
    let memory_id = memory["id"].as_str().expect("id");
    let key_id = owner.key.split('_').nth(2).expect("an id");
    // The operator's routes know all tenants, and nobody else is let in.
    let of_tenants = |operation: &&Operation| operation.path.contains('{') && !operation.path.contains("/platform/");
    for operation in behind_authentication().iter().filter(of_tenants) {
        let foreign = if operation.path.contains("{key_id}") { key_id } else { memory_id };
        let creates = operation.path.ends_with("/remember")
            || operation.path.ends_with("/batch")
            || operation.method == Method::PUT;
        if creates {
            continue;
        }
        let answer = async |agent: &str, id: &str| {
            let request = stranger.request(operation.method.clone(), &filled(&operation.path, agent, id));
            let body = json!({"query": "x", "filter": {"kinds": ["fact"]}});
            let body = match operation.path.rsplit('/').next() {
                Some("recall") => json!({"query": body["query"]}),
                Some("forget") => json!({"filter": body["filter"]}),
                _ => json!({}),
            };
            let answer = stranger.send(if operation.has_body { request.json(&body) } else { request }).await;
            let mut problem = answer.assert_problem(404, "not_found");
            problem["request_id"] = json!(null);
            problem
        };
        assert_eq!(
            answer("ada", foreign).await,
            answer("nobody", SOME_MEMORY).await,
            "{} {}",
            operation.method,
            operation.path
        );
    }
    // Neither seen nor changed: the owner's data is as it was.
    let path = format!("/v1/memories/{memory_id}");
    assert_eq!(owner.get(&path).await.expect(200), memory);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_routes_are_open() {
    let app = TestApp::start().await;
    let stranger = app.stranger();
    assert_eq!(stranger.get("/livez").await.text, "ok\n");
    assert_eq!(stranger.get("/readyz").await.expect(200)["ready"], true);
    assert!(stranger.get("/readyz").await.text.contains("not meaning"), "hashed vectors are said to be for tests");
    assert_eq!(stranger.get("/openapi.json").await.expect(200)["openapi"], "3.1.0");
    assert!(stranger.get("/docs/").await.text.contains("swagger-ui"));
    let metrics = stranger.get("/metrics").await.text;
    for name in
        ["cairn_http_requests_total", "cairn_http_request_duration_seconds_bucket", "cairn_database_connections"]
    {
        assert!(metrics.contains(name), "{name} is missing");
    }
    assert!(metrics.contains(r#"route="/livez""#), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_with_an_address_of_their_own_are_served_there_alone() {
    let app = TestApp::start_with(|config| config.http.metrics_bind = Some(([127, 0, 0, 1], 0).into())).await;
    // Not through a `Client`, which knows the specification of a server that keeps its metrics.
    let answer = reqwest::get(format!("{}/metrics", app.url())).await.expect("answers");
    assert_eq!(answer.status(), 404);
    assert!(server::start_metrics(app.app.clone()).expect("binds").is_some());
    let plain = TestApp::start().await;
    assert!(server::start_metrics(plain.app.clone()).expect("needs no address").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_not_described_is_refused_and_described_as_refused() {
    let specification = serde_json::to_value(server::openapi()).expect("JSON");
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let memory = tenant.remember("ada", "The kettle is broken.").await;
    let mut refused = 0;
    for operation in behind_authentication().iter().filter(|operation| operation.has_body) {
        let item = &specification["paths"][&operation.path][operation.method.as_str().to_lowercase()];
        let reference = item["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str();
        let schema = specification.pointer(reference.expect("a schema with a name").trim_start_matches('#'));
        assert_eq!(schema.expect("a schema")["additionalProperties"], false, "{}", operation.path);

        let path = filled(&operation.path, "ada", memory["id"].as_str().expect("id"));
        let request = tenant.request(operation.method.clone(), &path).json(&json!({"no_such_field": 1}));
        let answer = tenant.send(request).await;
        if ![403, 404].contains(&answer.status) {
            let problem = answer.expect(422);
            let errors = problem["errors"].as_array().expect("errors");
            let complaint = errors.iter().find(|error| error["pointer"] == "/no_such_field");
            assert_eq!(complaint.expect("a complaint")["code"], "unknown_field", "{}", operation.path);
            refused += 1;
        }
    }
    assert!(refused >= 6, "only {refused} bodies were read");
}
