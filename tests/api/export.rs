//! Export: everything a tenant or an agent remembers comes out, and goes back in as it was.

use std::path::Path;
use std::process::Output;

use futures_util::StreamExt;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::harness::proxy::Proxy;
use crate::harness::{Client, TestApp};

fn lines(text: &str) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

async fn import(app: &TestApp, client: &Client, folder: &Path, file: &str) -> Output {
    tokio::process::Command::new(env!("CARGO_BIN_EXE_cairn"))
        .args(["import", file, "--agent-field", "agent_id"])
        .current_dir(folder)
        .env("CAIRN_URL", app.url())
        .env("CAIRN_API_KEY", &client.key)
        .output()
        .await
        .expect("the binary runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_holds_every_memory_once_oldest_first() {
    let app = TestApp::start().await;
    let (tenant, other) = (app.new_tenant().await, app.new_tenant().await);
    other.remember("ada", "theirs").await;
    for agent in ["ada", "bob"] {
        for batch in 0..5 {
            let memories: Vec<Value> = (0..90).map(|n| json!({"content": format!("{agent} {batch} {n}")})).collect();
            let path = format!("/v1/agents/{agent}/remember/batch");
            tenant.post(&path, json!({"memories": memories})).await.expect(200);
        }
    }
    let answer = tenant.get("/v1/agents/ada/export").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
    let exported: Vec<String> =
        lines(&answer.text).iter().map(|one| one["content"].as_str().expect("content").to_owned()).collect();
    let expected: Vec<String> = (0..450).map(|n| format!("ada {} {}", n / 90, n % 90)).collect();
    assert_eq!(exported, expected);

    let all = lines(&tenant.get("/v1/tenant/export").await.text);
    assert_eq!(all.len(), 900);
    let newest = tenant.get("/v1/agents/bob/memories?limit=1").await.expect(200)["items"][0].clone();
    assert_eq!(all.last(), Some(&newest), "a line is a memory as any route shows it");

    tenant.put("/v1/agents/new", json!({})).await.expect(201);
    assert_eq!(tenant.get("/v1/agents/new/export").await.text, "");
    tenant.get("/v1/agents/nobody/export").await.assert_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_administrator_who_is_no_agent_exports_a_tenant() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "stone").await;
    let bound = app.client(tenant.id, "all", Some("ada")).await;
    bound.get("/v1/tenant/export").await.assert_problem(403, "insufficient_scope");
    assert_eq!(lines(&bound.get("/v1/agents/ada/export").await.text).len(), 1);
    let acting = tenant.request(Method::GET, "/v1/tenant/export").header("cairn-agent", "ada");
    tenant.send(acting).await.assert_problem(403, "insufficient_scope");
    let reader = app.client(tenant.id, "memories:read", None).await;
    reader.get("/v1/tenant/export").await.assert_problem(403, "insufficient_scope");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_breaks_off_never_looks_whole() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    for batch in 0..6 {
        let memories: Vec<Value> = (0..100).map(|n| json!({"content": format!("stone {batch} {n}")})).collect();
        tenant.post("/v1/agents/ada/remember/batch", json!({"memories": memories})).await.expect(200);
    }
    let proxy = Proxy::start(app.database.cluster.socket()).await;
    // With one connection the statements come in one order.
    let slowed =
        app.sibling_through(proxy.options(&app.database.name), |config| config.database.search_connections = 1).await;
    let caller = tenant.client.at(slowed.url());
    assert_eq!(lines(&caller.get("/v1/agents/ada/export").await.text).len(), 600);
    // The gate, then BEGIN, SELECT and ROLLBACK of the first batch; one more for the ROLLBACK of what went before.
    proxy.allow(5);
    let response = caller.request(Method::GET, "/v1/agents/ada/export").send().await.expect("begins");
    assert_eq!(response.status(), 200);
    let mut superuser = app.database.superuser().await;
    while !proxy.holds() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    sqlx::query("ALTER TABLE memories RENAME TO elsewhere").execute(&mut superuser).await.expect("breaks the schema");
    proxy.release();
    let parts: Vec<_> = response.bytes_stream().collect().await;
    assert!(parts.last().expect("parts").is_err(), "the end of the answer says that it is whole");
}

/// What a text may hold that some link of the chain might not like.
fn text(least: usize, most: usize) -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        "e\u{301}",
        "\u{1E9B}\u{323}",
        "\u{202E}abc\u{202C}",
        "\u{2066}x\u{2069}",
        "👩‍👩‍👧‍👦",
        "🏴󠁧󠁢󠁳󠁣󠁴󠁿",
        "𝕏",
        "\u{10FFFF}",
        "\u{FFFE}",
        "\u{FFFF}",
        "\u{2028}",
        "\u{2029}",
        "\u{200B}",
        "\u{FEFF}",
        "\u{1}",
        "\u{7F}",
        "\u{85}",
        "\r\n",
        "\t",
        "\\",
        "\"",
        "'",
        "\\u0000",
        "%",
        "{}",
        "</script>",
        "ﬀ",
        "İ",
        "ß",
        "\u{AD}",
        "\u{E000}",
        "कि",
        "ﷺ",
    ]);
    let piece = prop_oneof![odd.prop_map(str::to_owned), "[a-z ]{1,8}", any::<char>().prop_map(String::from)];
    prop::collection::vec(piece, least..most).prop_map(|pieces| format!("a{}", pieces.concat().replace('\0', "0")))
}

fn number() -> impl Strategy<Value = Value> {
    let odd = [
        -0.0,
        0.1 + 0.2,
        1e-308,
        5e-324,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        1e15,
        9_007_199_254_740_993.0,
        1e17,
        1_234_567_890_123_456_768.0,
        9.3e18,
        1.2e19,
        1e20,
        1e21,
        1e300,
        0.1,
        1.0 / 3.0,
    ];
    prop_oneof![
        prop::sample::select(odd.to_vec()).prop_map(Value::from),
        prop::sample::select(vec![i64::MAX, i64::MIN, 0, -1, 9_007_199_254_740_993]).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
    ]
}

fn metadata() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![number(), text(0, 4).prop_map(Value::from), any::<bool>().prop_map(Value::from), Just(Value::Null)];
    let nested = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(text(0, 3), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    prop::collection::btree_map(text(0, 3), nested, 0..5).prop_map(|map| Value::Object(map.into_iter().collect()))
}

fn time() -> impl Strategy<Value = Value> {
    (1..=9999_u16, 1..=12_u8, 1..=28_u8, 0..86_400_u32, 0..1_000_000_u32, -12..=12_i8)
        .prop_filter("a year that a zone does not push out of the calendar", |(year, ..)| (2..9999).contains(year))
        .prop_map(|(year, month, day, second, micros, zone)| {
            let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
            json!(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}{zone:+03}:00"))
        })
}

prop_compose! {
    fn memory()(
        content in text(0, 30),
        key in prop::option::of(text(0, 6)),
        tags in prop::collection::vec(text(0, 2), 0..5),
        importance in prop_oneof![0.0..=1.0, Just(5e-324), Just(-0.0), Just(0.1 + 0.2), Just(1.0)],
        metadata in metadata(),
        speaker in prop::option::of(text(0, 5)),
        source in prop::option::of((text(0, 3), text(0, 3), prop::option::of(0..=i64::MAX))),
        occurred_at in prop::option::of(time()),
        expires in prop::option::of(0..1_000_000_u32),
        kind in prop::sample::select(vec!["fact", "preference", "context", "decision", "error", "feedback", "learning", "event"]),
    ) -> Map<String, Value> {
        let source = source.map(|(kind, id, seq)| json!({"type": kind, "id": id, "seq": seq}));
        let expires_at = expires.map(|micros| format!("2999-01-01T00:00:00.{micros:06}Z"));
        let memory = json!({"content": content, "key": key, "tags": tags, "importance": importance, "metadata": metadata,
            "speaker": speaker, "source": source, "occurred_at": occurred_at, "expires_at": expires_at, "kind": kind});
        memory.as_object().expect("an object").clone()
    }
}

/// What must be the same wherever the memory is.
fn said(memory: &Value) -> Value {
    let mut said = memory.as_object().expect("an object").clone();
    for of_this_server in ["id", "created_at", "updated_at", "version"] {
        assert!(said.remove(of_this_server).is_some(), "{of_this_server}");
    }
    Value::Object(said)
}

/// Numbers as what they mean: 1 and 1.0 are one number, and so are -0.0 and 0.
fn meant(value: &Value) -> Value {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(whole) => json!(format!("{whole}")),
            None => {
                let number = number.as_f64().expect("a number") + 0.0;
                json!(number.to_string())
            }
        },
        Value::Array(items) => items.iter().map(meant).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), meant(value))).collect(),
        other => other.clone(),
    }
}

async fn list(client: &Client, agent: &str) -> Vec<Value> {
    let (mut all, mut query) = (Vec::new(), "?limit=200".to_owned());
    loop {
        let page = client.get(&format!("/v1/agents/{agent}/memories{query}")).await.expect(200);
        all.extend(page["items"].as_array().expect("items").iter().map(said));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("?limit=200&cursor={cursor}");
    }
    all.sort_by_key(Value::to_string);
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_remembered_survives_another_instance_an_export_and_an_import() {
    let app = TestApp::start().await;
    let sibling = app.sibling().await;
    let (tenant, fresh) = (app.new_tenant().await, app.new_tenant().await);
    let mut runner = TestRunner::deterministic();
    for n in 0..150 {
        let mut sent = memory().new_tree(&mut runner).expect("a memory").current();
        // Equal contents would be one memory, and equal keys too.
        sent["content"] = json!(format!("{n} {}", sent["content"].as_str().expect("text")));
        if let Some(key) = sent["key"].as_str() {
            sent["key"] = json!(format!("{n} {key}"));
        }
        let written = tenant.remember_as(if n % 3 == 0 { "bob" } else { "ada" }, Value::Object(sent.clone())).await;
        for field in ["content", "kind", "importance", "metadata", "speaker", "source"] {
            assert_eq!(meant(&written[field]), meant(&sent[field]), "{field} of {sent:?}");
        }
        let path = format!("/v1/memories/{}", written["id"].as_str().expect("id"));
        let read = tenant.client.at(sibling.url()).get(&path).await.expect(200);
        assert_eq!(read, written, "as written, on another instance");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let exported = tenant.get("/v1/tenant/export").await.text;
    std::fs::write(folder.path().join("export.jsonl"), &exported).expect("a file");
    let output = import(&app, &fresh, folder.path(), "export.jsonl").await;
    let shown = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && shown.contains("created 150"), "{shown}");
    for agent in ["ada", "bob"] {
        let (before, after) = (list(&tenant, agent).await, list(&fresh, agent).await);
        assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before, after);
        }
    }
    // And once more: what is imported exports to the same bytes, but for what is of the server.
    let again = fresh.get("/v1/tenant/export").await.text;
    let sorted = |text: &str| {
        let mut all: Vec<String> = lines(text).iter().map(|line| said(line).to_string()).collect();
        all.sort();
        all
    };
    assert_eq!(sorted(&again), sorted(&exported));
}
