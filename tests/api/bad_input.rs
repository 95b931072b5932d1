//! Bad input, as a table: the right status, the right code, nothing stored.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Answer, Client, TestApp};

const REMEMBER: &str = "/v1/agents/ada/remember";
const BATCH: &str = "/v1/agents/ada/remember/batch";
const RECALL: &str = "/v1/agents/ada/recall";
const FORGET: &str = "/v1/agents/ada/forget";

async fn send_raw(client: &Client, path: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = client.request(Method::POST, path).header("content-type", "application/json");
    client.send(request.body(body)).await
}

/// A tenant with one agent and nothing in its memory but one stone.
async fn start() -> (TestApp, Client) {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "a stone").await;
    (app, tenant.client)
}

async fn assert_nothing_stored(client: &Client) {
    let stats = client.get("/v1/agents/ada/stats").await.expect(200);
    assert_eq!(stats["memories"], 1, "something was stored");
    assert_eq!(client.get("/v1/agents").await.expect(200)["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_json_is_refused() {
    let (_app, client) = start().await;
    let nested = |levels: usize| format!(r#"{{"content":{}1{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
    let table: Vec<(Vec<u8>, u16, &str)> = vec![
        (b"".to_vec(), 400, "invalid_json"),
        (b"content".to_vec(), 400, "invalid_json"),
        (br#"{"content":"x""#.to_vec(), 400, "invalid_json"),
        (br#"{"content":"x"} y"#.to_vec(), 400, "invalid_json"),
        (br#"{"content":"x","content":"y"}"#.to_vec(), 400, "invalid_json"),
        (br#"{"content":"x","metadata":{"a":1,"a":2}}"#.to_vec(), 400, "invalid_json"),
        (br#"{"content":"\ud800"}"#.to_vec(), 400, "invalid_json"),
        (br#"{"content":"\udfff x"}"#.to_vec(), 400, "invalid_json"),
        (b"{\"content\":\"\xff\xfe\"}".to_vec(), 400, "invalid_json"),
        (b"{\"content\":\"\xed\xa0\x80\"}".to_vec(), 400, "invalid_json"),
        (br#"{"content":"x","metadata":{"n":NaN}}"#.to_vec(), 400, "invalid_json"),
        (br#"{"content":"x","metadata":{"n":01}}"#.to_vec(), 400, "invalid_json"),
        (b"\xef\xbb\xbf{\"content\":\"x\"}".to_vec(), 400, "invalid_json"),
        (nested(9).into_bytes(), 400, "json_too_deep"),
        (nested(200).into_bytes(), 400, "json_too_deep"),
        (nested(100_000).into_bytes(), 400, "json_too_deep"),
        (br#"{"content":"x","metadata":{"a":{"b":{"c":{"d":{"e":{"f":1}}}}}}}"#.to_vec(), 201, ""),
        (br#"{"content":"y","metadata":{"a":{"b":{"c":{"d":{"e":{"f":{}}}}}}}}"#.to_vec(), 400, "json_too_deep"),
        (b"[]".to_vec(), 422, "invalid_type"),
        (b"null".to_vec(), 422, "invalid_type"),
    ];
    for (body, status, code) in table {
        let answer = send_raw(&client, REMEMBER, body.clone()).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        assert_eq!(answer.status, status, "{shown}: {}", answer.text);
        if status != 201 {
            answer.assert_problem(status, code);
        }
    }
    assert_eq!(client.get("/v1/agents/ada/stats").await.expect(200)["memories"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_a_media_type_and_a_size() {
    let (_app, client) = start().await;
    for media in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        let request = client.request(Method::POST, REMEMBER).header("content-type", media).body(r#"{"content":"x"}"#);
        client.send(request).await.assert_problem(415, "unsupported_media_type");
    }
    let merge = client
        .request(Method::PATCH, "/v1/agents/ada")
        .header("content-type", "application/merge-patch+json")
        .body("{}");
    client.send(merge).await.expect(200);

    let padded = |size: usize| format!(r#"{{"content":"x"{}}}"#, " ".repeat(size - 15));
    send_raw(&client, RECALL, padded(1024 * 1024)).await.assert_problem(422, "field_missing");
    send_raw(&client, RECALL, padded(1024 * 1024 + 1)).await.assert_problem(413, "body_too_large");
    // Without a declared length.
    let chunks = (0..1100).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024]));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    send_raw(&client, REMEMBER, body).await.assert_problem(413, "body_too_large");
    assert_nothing_stored(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_cannot_explode() {
    use std::io::Write;
    let (_app, client) = start().await;
    let gzip = |plain: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(plain).expect("compresses");
        encoder.finish().expect("compresses")
    };
    let send = async |body: Vec<u8>, encoding: &str| {
        let request = client.request(Method::POST, RECALL).header("content-type", "application/json");
        client.send(request.header("content-encoding", encoding.to_owned()).body(body)).await
    };
    send(gzip(br#"{"query":"stone"}"#), "gzip").await.expect(200);
    send(gzip(&vec![b' '; 64 << 20]), "gzip").await.assert_problem(413, "body_too_large");
    send(b"not gzip".to_vec(), "gzip").await.assert_problem(400, "invalid_json");
    send(br#"{"query":"stone"}"#.to_vec(), "br").await.assert_problem(415, "unsupported_media_type");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_a_memory_has_its_bounds() {
    let (_app, client) = start().await;
    let with = |field: &str, value: Value| {
        let mut memory = json!({"content": "x"});
        memory[field] = value;
        memory
    };
    let keys: Value = (0..1000).map(|n| (n.to_string(), json!(1))).collect::<serde_json::Map<_, _>>().into();
    let table = [
        (json!({}), 422, "field_missing", "/content"),
        (with("content", json!("")), 422, "field_empty", "/content"),
        (with("content", json!(" \n\u{200b}\u{feff}")), 422, "field_empty", "/content"),
        (with("content", json!("a\0b")), 422, "invalid_unicode", "/content"),
        (with("content", json!("x".repeat(32 * 1024 + 1))), 413, "content_too_large", "/content"),
        (with("content", json!(1)), 422, "invalid_type", "/content"),
        (with("content", json!(null)), 422, "invalid_type", "/content"),
        (with("tenant_id", json!("x")), 422, "unknown_field", "/tenant_id"),
        (with("tag", json!("x")), 422, "unknown_field", "/tag"),
        (with("embedding", json!([1])), 422, "unknown_field", "/embedding"),
        (with("a/b~c", json!(1)), 422, "unknown_field", "/a~1b~0c"),
        (with("kind", json!("dream")), 422, "invalid_value", "/kind"),
        (with("kind", json!(1)), 422, "invalid_type", "/kind"),
        (with("key", json!("")), 422, "field_empty", "/key"),
        (with("key", json!("k".repeat(257))), 422, "field_too_long", "/key"),
        (with("key", json!("a\0")), 422, "invalid_unicode", "/key"),
        (with("tags", json!("a")), 422, "invalid_type", "/tags"),
        (with("tags", json!([1])), 422, "invalid_type", "/tags/0"),
        (with("tags", json!(["a", ""])), 422, "field_empty", "/tags/1"),
        (with("tags", json!(["t".repeat(65)])), 422, "field_too_long", "/tags/0"),
        (with("tags", json!((0..33).map(|n| n.to_string()).collect::<Vec<_>>())), 422, "too_many_items", "/tags"),
        (with("tags", json!(["a\0"])), 422, "invalid_unicode", "/tags/0"),
        (with("importance", json!(1.000_000_1)), 422, "out_of_range", "/importance"),
        (with("importance", json!(-0.1)), 422, "out_of_range", "/importance"),
        (with("importance", json!("high")), 422, "invalid_type", "/importance"),
        (with("metadata", json!([])), 422, "invalid_type", "/metadata"),
        (with("metadata", json!({"k": "x".repeat(16 * 1024)})), 413, "metadata_too_large", "/metadata"),
        (
            with("metadata", json!({"k".repeat(129): 1})),
            422,
            "field_too_long",
            &format!("/metadata/{}", "k".repeat(129)),
        ),
        (with("metadata", keys), 422, "too_many_items", "/metadata"),
        (with("metadata", json!({"a": {"b": "x\0"}})), 422, "invalid_unicode", "/metadata/a/b"),
        (with("metadata", json!({"a\0": 1})), 422, "invalid_unicode", "/metadata/a\0"),
        (with("speaker", json!("")), 422, "field_empty", "/speaker"),
        (with("speaker", json!("s".repeat(257))), 422, "field_too_long", "/speaker"),
        (with("source", json!("x")), 422, "invalid_type", "/source"),
        (with("source", json!({"type": "x"})), 422, "field_missing", "/source/id"),
        (with("source", json!({"type": "x", "id": "y", "seq": -1})), 422, "out_of_range", "/source/seq"),
        (with("source", json!({"type": "x", "id": "y", "seq": 1.5})), 422, "out_of_range", "/source/seq"),
        (with("source", json!({"type": "x", "id": "y", "z": 1})), 422, "unknown_field", "/source/z"),
        (with("occurred_at", json!("2026-01-01T00:00:00")), 422, "invalid_timestamp", "/occurred_at"),
        (with("occurred_at", json!("0000-01-01T00:00:00Z")), 422, "invalid_timestamp", "/occurred_at"),
        (with("occurred_at", json!("9999999-01-01T00:00:00Z")), 422, "invalid_timestamp", "/occurred_at"),
        (with("occurred_at", json!("2016-12-31T23:59:60Z")), 422, "invalid_timestamp", "/occurred_at"),
        (with("occurred_at", json!(1)), 422, "invalid_type", "/occurred_at"),
        (with("expires_at", json!("2020-01-01T00:00:00Z")), 422, "invalid_timestamp", "/expires_at"),
        (with("circles", json!(["no spaces"])), 422, "invalid_id", "/circles/0"),
    ];
    for (body, status, code, pointer) in table {
        let problem = client.post(REMEMBER, body.clone()).await.assert_problem(status, code);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    for number in ["1e400", "-1e400", "1e131000", "123456789012345678901234567890"] {
        let body = format!(r#"{{"content":"x","metadata":{{"n":{number}}}}}"#);
        send_raw(&client, REMEMBER, body).await.assert_problem(422, "number_out_of_range");
    }
    assert_nothing_stored(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_but_storable_text_comes_back_as_sent() {
    let (_app, client) = start().await;
    for (n, content) in [
        "\u{202e}right to left\u{202c}".to_owned(),
        "👩‍👩‍👧‍👦 🫖".to_owned(),
        format!("e{}", "\u{301}".repeat(10_000)),
        "'; DROP TABLE memories; --".to_owned(),
        "\u{7f}\u{85}\u{fffd}\u{10ffff}".to_owned(),
        "x".repeat(32 * 1024),
    ]
    .into_iter()
    .enumerate()
    {
        let metadata = json!({"__proto__": n, "$where": "1=1", "\"quoted\"": [content.len(), -0.0, 1e-7, i64::MAX]});
        let sent = json!({"content": content, "metadata": metadata});
        let memory = client.remember_as("ada", sent).await;
        assert_eq!(memory["content"], content);
        assert_eq!(memory["metadata"]["$where"], "1=1");
        let read = client.get(&format!("/v1/memories/{}", memory["id"].as_str().expect("id"))).await.expect(200);
        assert_eq!(read, memory);
        assert_eq!(read["metadata"]["\"quoted\""], json!([content.len(), 0, 1e-7, i64::MAX]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_a_question_has_its_bounds() {
    let (_app, client) = start().await;
    let with = |field: &str, value: Value| {
        let mut request = json!({"query": "stone"});
        request[field] = value;
        request
    };
    let filter = |value: Value| json!({"query": "stone", "filter": value});
    let many: serde_json::Map<String, Value> = (0..17).map(|n| (format!("k{n}"), json!(1))).collect();
    let table = [
        (json!({}), "field_missing"),
        (with("query", json!("")), "field_empty"),
        (with("query", json!("x".repeat(8 * 1024 + 1))), "field_too_long"),
        (with("query", json!("a\0")), "invalid_unicode"),
        (with("offset", json!(1)), "unknown_field"),
        (with("k", json!("10")), "invalid_type"),
        (with("mode", json!("magic")), "invalid_value"),
        (with("within", json!("everything")), "invalid_value"),
        (with("within", json!({"circles": []})), "field_empty"),
        (with("within", json!({"circles": vec!["c"; 65]})), "too_many_items"),
        (with("within", json!({"circles": ["a b"]})), "invalid_id"),
        (with("within", json!({})), "field_missing"),
        (with("within", json!(1)), "invalid_type"),
        (with("min_score", json!(1.1)), "out_of_range"),
        (with("token_budget", json!(0)), "out_of_range"),
        (with("explain", json!("yes")), "invalid_type"),
        (with("cache", json!("never")), "invalid_value"),
        (filter(json!([])), "invalid_type"),
        (filter(json!({"nope": 1})), "unknown_field"),
        (filter(json!({"kinds": []})), "field_empty"),
        (filter(json!({"kinds": ["dream"]})), "invalid_value"),
        (filter(json!({"tags_any": (0..101).map(|n| n.to_string()).collect::<Vec<_>>()})), "filter_too_complex"),
        (filter(json!({"speakers": ["a\0"]})), "invalid_unicode"),
        (filter(json!({"agent_ids": ["a b"]})), "invalid_id"),
        (filter(json!({"min_importance": 2})), "out_of_range"),
        (filter(json!({"created": {"after": "yesterday"}})), "invalid_timestamp"),
        (filter(json!({"created": {"since": "2026-01-01T00:00:00Z"}})), "unknown_field"),
        (filter(json!({"metadata": {"k": [1]}})), "invalid_type"),
        (filter(json!({"metadata": {"k": {"like": "%%%%"}}})), "unknown_field"),
        (filter(json!({"metadata": {"k": {"in": [[1]]}}})), "invalid_type"),
        (filter(json!({"metadata": {"k": {"in": [1], "gt": 1}}})), "invalid_value"),
        (filter(json!({"metadata": {"k": {}}})), "invalid_value"),
        (filter(json!({"metadata": {"k": {"in": (0..1000).collect::<Vec<_>>()}}})), "filter_too_complex"),
        (filter(json!({"metadata": {"k\0": 1}})), "invalid_unicode"),
        (filter(json!({"metadata": many})), "filter_too_complex"),
    ];
    for (body, code) in table {
        client.post(RECALL, body.clone()).await.assert_problem(422, code);
    }
    for k in ["0", "-1", "101", "2147483648", "9223372036854775808", "1e9", "1.5", "null"] {
        send_raw(&client, RECALL, format!(r#"{{"query":"x","k":{k}}}"#)).await.assert_problem(422, "out_of_range");
    }
    client.post(FORGET, json!({})).await.assert_problem(422, "field_missing");
    client.post(FORGET, json!({"filter": {"kinds": ["dream"]}})).await.assert_problem(422, "invalid_value");
    assert_nothing_stored(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_one_to_a_hundred_memories_of_different_keys() {
    let (_app, client) = start().await;
    let batch = |memories: Vec<Value>| json!({"memories": memories});
    let stones = |count: usize| (0..count).map(|n| json!({"content": format!("s{n}")})).collect::<Vec<_>>();
    client.post(BATCH, batch(vec![])).await.assert_problem(422, "field_empty");
    client.post(BATCH, batch(stones(101))).await.assert_problem(413, "batch_too_large");
    client.post(BATCH, json!({})).await.assert_problem(422, "field_missing");
    let same = batch(vec![json!({"content": "a", "key": "k"}), json!({"content": "b", "key": "k"})]);
    let problem = client.post(BATCH, same).await.assert_problem(422, "duplicate_item");
    assert_eq!(problem["errors"][0]["pointer"], "/memories/1/key");
    let mut one_bad = stones(100);
    one_bad[57]["importance"] = json!(7);
    let problem = client.post(BATCH, batch(one_bad)).await.assert_problem(422, "out_of_range");
    assert_eq!(problem["errors"][0]["pointer"], "/memories/57/importance");
    assert_nothing_stored(&client).await;
    // Nothing but the size of the body stands against a hundred large ones.
    let large: Vec<Value> = (0..100).map(|n| json!({"content": format!("{n} {}", "x".repeat(30_000))})).collect();
    client.post(BATCH, batch(large)).await.expect(200);
    let larger: Vec<Value> = (0..100)
        .map(|n| json!({"content": format!("{n} {}", "x".repeat(32_000)), "metadata": {"k": "y".repeat(12_000)}}))
        .collect();
    client.post(BATCH, batch(larger)).await.assert_problem(413, "body_too_large");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_and_parameters_are_checked() {
    let (_app, client) = start().await;
    for id in ["no%20spaces", "%C3%A4", ".hidden", "a%2Fb", &"x".repeat(129), "%FF", "a%00"] {
        client.get(&format!("/v1/agents/{id}")).await.assert_problem(422, "invalid_id");
        client
            .post(&format!("/v1/agents/{id}/remember"), json!({"content": "x"}))
            .await
            .assert_problem(422, "invalid_id");
    }
    client.put(&format!("/v1/agents/{}", "x".repeat(128)), json!({})).await.expect(201);
    client.put("/v1/agents/Ada.Love_lace:1@x-y", json!({})).await.expect(201);
    client.get("/v1/agents/Ada.Love%5Flace:1%40x-y").await.expect(200);
    for id in ["x", "123", "01a1fa79-97bc-72a0-a2c2-77faa28e729", "%00"] {
        client.get(&format!("/v1/memories/{id}")).await.assert_problem(422, "invalid_id");
        client.delete(&format!("/v1/memories/{id}")).await.assert_problem(422, "invalid_id");
    }
    let list = "/v1/agents/ada/memories";
    for (query, status, code) in [
        ("limit=0", 422, "out_of_range"),
        ("limit=-1", 422, "out_of_range"),
        ("limit=201", 422, "out_of_range"),
        ("limit=ten", 422, "invalid_type"),
        ("limit=1&limit=2", 422, "duplicate_item"),
        ("offset=1", 422, "unknown_field"),
        ("kinds=dream", 422, "invalid_value"),
        ("min_importance=2", 422, "out_of_range"),
        ("created_after=now", 422, "invalid_timestamp"),
        ("key=%00", 422, "invalid_unicode"),
        ("key=%FF", 422, "invalid_unicode"),
        ("cursor=", 400, "invalid_cursor"),
        ("cursor=abc", 400, "invalid_cursor"),
        ("cursor=%21%21", 400, "invalid_cursor"),
    ] {
        client.get(&format!("{list}?{query}")).await.assert_problem(status, code);
    }
    client.get(&format!("{list}?cursor={}", "A".repeat(600))).await.assert_problem(400, "invalid_cursor");
    client.get(&format!("{list}?limit=200")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_of_a_request_has_its_bounds() {
    let (app, client) = start().await;
    client.get(&format!("/v1/agents?x={}", "y".repeat(8 * 1024))).await.assert_problem(414, "uri_too_long");
    let request = client.request(Method::GET, "/v1/agents").header("x-padding", "y".repeat(8 * 1024));
    client.send(request).await.assert_problem(431, "header_too_large");
    let both = raw(
        &app,
        "POST /livez HTTP/1.1\r\nhost: c\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    )
    .await;
    assert!(both.starts_with("HTTP/1.1 400"), "{both}");
    let garbage = raw(&app, "GET\0 / HTTP/1.1\r\n\r\n").await;
    assert!(garbage.starts_with("HTTP/1.1 400"), "{garbage}");
}

async fn raw(app: &TestApp, request: &str) -> String {
    let mut stream = TcpStream::connect(app.address).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(std::time::Duration::from_secs(5), stream.read(&mut answer));
    let read = read.await.expect("answers in time").expect("reads");
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_trickles_in_is_given_up() {
    let app = TestApp::start_with(|config| config.http.body_deadline_secs = 1).await;
    let tenant = app.new_tenant().await;
    let head = format!(
        "POST {REMEMBER} HTTP/1.1\r\nhost: c\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{{",
        tenant.key
    );
    let answer = raw(&app, &head).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("request_timeout"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_do_not_fill_the_memory() {
    let (_app, client) = start().await;
    let deep = format!(r#"{{"content":{}"#, "[".repeat(1_000_000));
    let wide = format!(r#"{{"content":[{}1]}}"#, "[],".repeat(300_000));
    let text = format!(r#"{{"content":"{}"}}"#, "x".repeat(1_000_000));
    let before = resident_mib();
    for _ in 0..20 {
        for body in [&deep, &wide, &text] {
            assert!((400..=422).contains(&send_raw(&client, REMEMBER, body.clone()).await.status));
        }
    }
    let grown = resident_mib() - before;
    assert!(grown < 64, "{grown} MiB more than before");
    assert_nothing_stored(&client).await;
}

fn resident_mib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.trim().split(' ').next().and_then(|kib| kib.parse::<i64>().ok()).unwrap_or(0) / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn null_means_the_same_as_leaving_a_field_out() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let memory = json!({"content": "The kettle is broken.", "key": null, "speaker": null, "source": null,
        "circles": null, "occurred_at": null, "expires_at": null});
    tenant.remember_as("ada", memory).await;
    let filter =
        json!({"key": null, "min_importance": null, "created": null, "occurred": {"after": null, "before": null}});
    let request = json!({"query": "kettle", "filter": filter, "min_score": null, "token_budget": null});
    assert_eq!(tenant.recalled("ada", request).await, ["The kettle is broken."]);
    let patch = tenant.request(Method::PATCH, "/v1/agents/ada").json(&json!({"name": null, "metadata": null}));
    assert_eq!(tenant.send(patch).await.status, 200);
}
