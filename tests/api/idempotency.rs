//! `Idempotency-Key`: however often a write is sent, at once or later, cut off or not, it happens once.

use std::time::Duration;

use cairn::ids::TenantId;
use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::proxy::Proxy;
use crate::harness::{Answer, Client, Tenant, TestApp};

const BODY_MARK: &str = "quartz";
const KEY_MARK: &str = "key-feldspar";

/// A write that would show if it happened twice.
struct Write {
    name: &'static str,
    method: Method,
    path: String,
    body: Option<Value>,
    /// Another body, to be refused under the same key.
    other: Option<Value>,
}

impl Write {
    fn request(&self, client: &Client, key: &str) -> RequestBuilder {
        self.with_body(client, key, self.body.as_ref())
    }

    fn with_body(&self, client: &Client, key: &str, body: Option<&Value>) -> RequestBuilder {
        let request = client.request(self.method.clone(), &self.path).header("idempotency-key", key);
        match body {
            Some(body) => request.json(body),
            None => request,
        }
    }

    /// Sends the whole request and does not wait for the answer.
    async fn cut_off(&self, app: &TestApp, client: &Client, key: &str) {
        let body = self.body.as_ref().map(Value::to_string).unwrap_or_default();
        let head = format!(
            "{} {} HTTP/1.1\r\nhost: cairn\r\nauthorization: Bearer {}\r\nidempotency-key: {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.method,
            self.path,
            client.key,
            body.len(),
        );
        let mut stream = TcpStream::connect(app.address).await.expect("connects");
        stream.write_all(head.as_bytes()).await.expect("sends");
    }
}

/// Every kind of write, on things of its own.
async fn writes(tenant: &Tenant) -> Vec<Write> {
    let memory = |agent: &'static str, memory: Value| async move {
        let remembered = tenant.remember_as(agent, memory).await;
        format!("/v1/memories/{}", remembered["id"].as_str().expect("id"))
    };
    let edited = memory("ada", json!({"content": "edited", "metadata": {}})).await;
    let forgotten = memory("ada", json!({"content": "forgotten"})).await;
    memory("bob", json!({"content": "one", "tags": ["t"]})).await;
    memory("bob", json!({"content": "two", "tags": ["t"]})).await;
    memory("eve", json!({"content": "hers"})).await;
    let write = |name, method: &str, path: &str, body: Option<Value>, other: Option<Value>| Write {
        name,
        method: method.parse().expect("a method"),
        path: path.to_owned(),
        body,
        other,
    };
    let text = |word: &str| format!("{BODY_MARK} {word}");
    vec![
        write("put agent", "PUT", "/v1/agents/new", Some(json!({"name": text("new")})), Some(json!({}))),
        write("patch agent", "PATCH", "/v1/agents/ada", Some(json!({"name": text("ada")})), Some(json!({}))),
        write(
            "remember",
            "POST",
            "/v1/agents/ada/remember",
            Some(json!({"content": text("one")})),
            Some(json!({"content": "x"})),
        ),
        write(
            "remember by key",
            "POST",
            "/v1/agents/ada/remember",
            Some(json!({"content": text("two"), "key": "k"})),
            Some(json!({"content": "x"})),
        ),
        write(
            "remember a duplicate",
            "POST",
            "/v1/agents/eve/remember",
            Some(json!({"content": "hers"})),
            Some(json!({"content": "x"})),
        ),
        write(
            "remember for a new agent",
            "POST",
            "/v1/agents/made/remember",
            Some(json!({"content": text("three")})),
            Some(json!({"content": "x"})),
        ),
        write(
            "batch",
            "POST",
            "/v1/agents/ada/remember/batch",
            Some(
                json!({"memories": [{"content": text("four")}, {"content": text("five"), "key": "five"}, {"content": text("four")}]}),
            ),
            Some(json!({"memories": [{"content": "x"}]})),
        ),
        write("patch memory", "PATCH", &edited, Some(json!({"content": text("six")})), Some(json!({"kind": "event"}))),
        write("forget", "DELETE", &forgotten, None, None),
        write(
            "forget by filter",
            "POST",
            "/v1/agents/bob/forget",
            Some(json!({"filter": {"tags_any": ["t"]}})),
            Some(json!({"filter": {"kinds": ["fact"]}})),
        ),
        write("erase", "DELETE", "/v1/agents/eve", None, None),
    ]
}

/// Sends until the answer is final; the same write may be running meanwhile.
async fn settle(client: &Client, write: &Write, key: &str) -> Answer {
    for _ in 0..200 {
        let answer = client.send(write.request(client, key)).await;
        if answer.status != 409 {
            return answer;
        }
        answer.assert_problem(409, "idempotency_in_progress");
        assert_eq!(answer.header("retry-after"), "1");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} is in progress for ever", write.name);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_sent_up_to_five_times_at_once_has_one_effect() {
    let app = TestApp::start().await;
    let sibling = app.sibling().await;
    for copies in 1..=5 {
        let tenant = app.new_tenant().await;
        for write in writes(&tenant).await {
            let key = format!("{KEY_MARK} {copies} {}", write.name);
            let before = effects(&app, &tenant).await;
            let instances = [tenant.client.clone(), tenant.client.at(sibling.url())];
            let sent = (0..copies).map(|copy| {
                let (client, write, key) = (&instances[copy % 2], &write, &key);
                async move { client.send(write.request(client, key)).await }
            });
            let cut = write.cut_off(&sibling, &tenant, &key);
            let (mut answers, ()) = tokio::join!(join_all(sent), cut);
            answers.push(settle(&tenant, &write, &key).await);
            answers.push(settle(&instances[1], &write, &key).await);
            check_equal(&write, &answers);
            let after = effects(&app, &tenant).await;
            assert!(after >= before && after <= before + 1, "{}: {before} commits, then {after}", write.name);
            if let Some(other) = &write.other {
                let reused = tenant.send(write.with_body(&tenant, &key, Some(other))).await;
                reused.assert_problem(422, "idempotency_key_reused");
            }
        }
        nothing_at_rest(&app).await;
    }
}

/// All answers but those of copies that met a running one are the same; all but at most one are replays.
fn check_equal(write: &Write, answers: &[Answer]) {
    let (running, done): (Vec<&Answer>, Vec<&Answer>) = answers.iter().partition(|answer| answer.status == 409);
    running.iter().for_each(|answer| drop(answer.assert_problem(409, "idempotency_in_progress")));
    let firsts = done.iter().filter(|answer| answer.header("idempotency-replayed") != "true").count();
    assert!(firsts <= 1, "{} happened {firsts} times", write.name);
    for answer in &done {
        assert!(answer.status < 300, "{}: {}", write.name, answer.text);
        assert_eq!(answer.status, done[0].status, "{}", write.name);
        assert_eq!(answer.text, done[0].text, "{}", write.name);
        assert_eq!(answer.header("etag"), done[0].header("etag"), "{}", write.name);
    }
}

/// How often anything of the tenant was changed: the numbers of its scopes, and the versions of its agents.
async fn effects(app: &TestApp, tenant: &Tenant) -> i64 {
    let mut superuser = app.database.superuser().await;
    sqlx::query_scalar(
        "SELECT (SELECT coalesce(sum(n), 0) FROM scope_epochs WHERE tenant_id = $1 AND scope_id IN (SELECT agent_uid FROM agents WHERE agent_id <> 'eve'))::bigint
              + (SELECT coalesce(sum(version - 1), 0) FROM agents WHERE tenant_id = $1)::bigint",
    )
    .bind(tenant.id)
    .fetch_one(&mut superuser)
    .await
    .expect("counts")
}

/// No byte of a key, a path, a body or a credential is in the table, which is not empty.
async fn nothing_at_rest(app: &TestApp) {
    let mut superuser = app.database.superuser().await;
    let rows: Vec<String> =
        sqlx::query_scalar("SELECT t::text FROM idempotency_keys t").fetch_all(&mut superuser).await.expect("rows");
    assert!(rows.len() >= 10, "{rows:?}");
    let marks = [BODY_MARK, KEY_MARK, "feldspar", "remember", "agents", "cairn_", "content"];
    for mark in marks {
        let hex: String = mark.bytes().map(|byte| format!("{byte:02x}")).collect();
        let found = rows.iter().find(|row| row.contains(mark) || row.contains(&hex));
        assert!(found.is_none(), "{mark} in {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_retry_does_not_undo_what_came_after() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let send = async |method: &str, path: &str, key: &str, body: Value| {
        let request = tenant.request(method.parse().expect("a method"), path).header("idempotency-key", key);
        tenant.send(request.json(&body)).await
    };
    let first = send("POST", "/v1/agents/ada/remember", "1", json!({"content": "old", "key": "k"})).await.expect(201);
    let newer = tenant.post("/v1/agents/ada/remember", json!({"content": "new", "key": "k"})).await.expect(200);
    let retried = send("POST", "/v1/agents/ada/remember", "1", json!({"key": "k", "content": "old"})).await;
    assert_eq!(retried.header("idempotency-replayed"), "true");
    assert_eq!(retried.expect(201), newer, "the status of the first, the memory as it is now");
    assert_eq!(newer["id"], first["id"]);

    let path = format!("/v1/memories/{}", newer["id"].as_str().expect("id"));
    send("PATCH", &path, "2", json!({"importance": 0.1})).await.expect(200);
    let newest = tenant.patch(&path, json!({"importance": 0.9})).await.expect(200);
    assert_eq!(send("PATCH", &path, "2", json!({"importance": 0.1})).await.expect(200), newest);
    // The same key on another path, query or method is another write.
    let batch = json!({"memories": [{"content": "other"}]});
    let other = send("POST", "/v1/agents/ada/remember/batch", "1", batch).await;
    assert_eq!((other.status, other.header("idempotency-replayed")), (200, ""));
    let elsewhere = app.new_tenant().await;
    let request = elsewhere.request(Method::POST, "/v1/agents/ada/remember").header("idempotency-key", "1");
    let stranger = elsewhere.send(request.json(&json!({"content": "theirs"}))).await;
    assert_eq!(stranger.expect(201)["content"], "theirs", "a key is one of its tenant");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_write_left_and_is_gone_since_answers_410() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let send = async |method: &str, path: &str, body: Value| {
        let request = tenant.request(method.parse().expect("a method"), path).header("idempotency-key", "once");
        tenant.send(request.json(&body)).await
    };
    send("PUT", "/v1/agents/ada", json!({})).await.expect(201);
    let memory = send("POST", "/v1/agents/ada/remember", json!({"content": "stone"})).await.expect(201);
    let batch = json!({"memories": [{"content": "one"}, {"content": "two"}]});
    let items = send("POST", "/v1/agents/ada/remember/batch", batch.clone()).await.expect(200);
    let path = format!("/v1/memories/{}", memory["id"].as_str().expect("id"));
    send("PATCH", &path, json!({"kind": "event"})).await.expect(200);
    tenant.delete(&path).await;
    send("POST", "/v1/agents/ada/remember", json!({"content": "stone"})).await.assert_problem(410, "gone");
    send("PATCH", &path, json!({"kind": "event"})).await.assert_problem(410, "gone");
    tenant.delete(&format!("/v1/memories/{}", items["items"][1]["memory"]["id"].as_str().expect("id"))).await;
    send("POST", "/v1/agents/ada/remember/batch", batch).await.assert_problem(410, "gone");

    tenant.delete("/v1/agents/ada").await.expect(200);
    send("PUT", "/v1/agents/ada", json!({})).await.assert_problem(410, "gone");
    tenant.put("/v1/agents/ada", json!({})).await.expect(201);
    send("PUT", "/v1/agents/ada", json!({})).await.assert_problem(410, "gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_passes_the_gate_and_tells_no_stranger() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let memory = tenant.remember("ada", "stone").await;
    tenant.remember("bob", "other").await;
    let path = format!("/v1/memories/{}", memory["id"].as_str().expect("id"));
    let send = async |client: &Client, method: Method| {
        let request = client.request(method.clone(), &path).header("idempotency-key", "once");
        client.send(if method == Method::PATCH { request.json(&json!({"kind": "event"})) } else { request }).await
    };
    send(&tenant, Method::PATCH).await.expect(200);
    let (bob, reader) =
        (app.client(tenant.id, "all", Some("bob")).await, app.client(tenant.id, "memories:read", None).await);
    send(&bob, Method::PATCH).await.assert_problem(404, "not_found");
    send(&reader, Method::PATCH).await.assert_problem(403, "insufficient_scope");
    assert_eq!(send(&tenant, Method::DELETE).await.status, 204);
    let again = send(&tenant, Method::DELETE).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (204, "true"));
    send(&bob, Method::DELETE).await.assert_problem(404, "not_found");
    send(&app.stranger(), Method::DELETE).await.assert_problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_can_be_sent_again_with_its_key() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let forget = async || {
        let request = tenant.request(Method::POST, "/v1/agents/ada/forget").header("idempotency-key", "once");
        tenant.send(request.json(&json!({"filter": {"tags_any": ["t"]}}))).await
    };
    forget().await.assert_problem(404, "not_found");
    tenant.remember_as("ada", json!({"content": "stone", "tags": ["t"]})).await;
    assert_eq!(forget().await.expect(200)["forgotten"], 1);
    tenant.remember_as("ada", json!({"content": "another", "tags": ["t"]})).await;
    let again = forget().await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.expect(200)["forgotten"], 1, "the count of the first time");
    assert_eq!(tenant.get("/v1/agents/ada/stats").await.expect(200)["memories"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_key_is_refused_and_none_is_needed() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let put = |keys: &[&[u8]]| {
        let request = tenant.request(Method::PUT, "/v1/agents/ada").json(&json!({}));
        keys.iter().fold(request, |request, key| request.header("idempotency-key", *key))
    };
    let long = "x".repeat(256);
    let bad: [&[&[u8]]; 5] = [&[b""], &[long.as_bytes()], &[b"a\tb"], &["ä".as_bytes()], &[b"a", b"b"]];
    for keys in bad {
        tenant.send(put(keys)).await.assert_problem(400, "idempotency_key_invalid");
    }
    tenant.send(put(&[&long.as_bytes()[1..]])).await.expect(201);
    tenant.send(put(&[])).await.expect(200);
    let recall = tenant.request(Method::POST, "/v1/agents/ada/recall").header("idempotency-key", "");
    tenant.send(recall.json(&json!({"query": "x"}))).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_forgotten_after_a_day_and_purged() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let put = async |name: &str| {
        let request = tenant.request(Method::PUT, "/v1/agents/ada").header("idempotency-key", "once");
        tenant.send(request.json(&json!({"name": name}))).await
    };
    let mut superuser = app.database.superuser().await;
    put("Ada").await.expect(201);
    age(&mut superuser, "23 hours 59 minutes").await;
    put("Eve").await.assert_problem(422, "idempotency_key_reused");
    assert_eq!(purge(&app, tenant.id).await, 0);
    age(&mut superuser, "24 hours").await;
    assert_eq!(put("Eve").await.expect(200)["name"], "Eve");
    assert_eq!(put("Eve").await.header("idempotency-replayed"), "true");
    age(&mut superuser, "24 hours").await;
    assert_eq!(purge(&app, tenant.id).await, 1);
}

async fn purge(app: &TestApp, tenant: TenantId) -> u64 {
    let mut tx = app.db().write(tenant).await.expect("begins");
    let purged = cairn::db::purge_receipts(&mut tx, tenant, 10).await.expect("purges");
    tx.commit(&[]).await.expect("commits");
    purged
}

async fn age(superuser: &mut PgConnection, by: &str) {
    let sql = format!("UPDATE idempotency_keys SET created_at = now() - interval '{by}'");
    sqlx::query(AssertSqlSafe(sql)).execute(superuser).await.expect("ages");
}

/// Stops a write before each of its statements in turn, cuts its answer off, and sends it again elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_cut_off_at_any_step_happens_once() {
    let app = TestApp::start().await;
    let proxy = Proxy::start(app.database.cluster.socket()).await;
    let slowed = app.sibling_through(proxy.options(&app.database.name), |_| {}).await;
    let tenant = app.new_tenant().await;
    let late = tenant.client.at(slowed.url());
    tenant.remember_as("ada", json!({"content": "stone", "key": "k"})).await;
    // Every statement is prepared first, so that each is one message from here on.
    let remember = |step: usize| Write {
        name: "remember",
        method: Method::POST,
        path: "/v1/agents/ada/remember".into(),
        body: Some(json!({"content": format!("stone {step}"), "key": "k"})),
        other: None,
    };
    late.send(remember(1000).request(&late, "warm")).await.expect(200);
    let mut running = 0;
    for step in 0..24 {
        let (write, key) = (remember(step), format!("once {step}"));
        proxy.allow(step);
        let cut = tokio::time::timeout(Duration::from_millis(40), late.send(write.request(&late, &key))).await;
        // Meanwhile another instance is asked for the same.
        let meanwhile = tenant.send(write.request(&tenant, &key));
        let (meanwhile, ()) = tokio::join!(tokio::time::timeout(Duration::from_millis(200), meanwhile), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            proxy.release();
        });
        running += usize::from(meanwhile.is_ok_and(|answer| answer.status == 409));
        let last = settle(&tenant, &write, &key).await;
        assert_eq!(last.header("idempotency-replayed"), "true", "step {step}, {}", cut.is_err());
        let version = last.expect(200)["version"].as_i64().expect("a version");
        assert_eq!(version, step as i64 + 3, "one version for each write, at step {step}");
    }
    assert!(running > 0, "no copy ever met a running one");
}

/// Five at once and one more: one key, one tenant, and the secret in one answer alone.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_issued_once_and_shown_once() {
    let app = TestApp::start().await;
    let sibling = app.sibling().await;
    let tenant = app.new_tenant().await;
    let operator = app.client(cairn::ids::TenantId::OPERATOR, "platform", None).await;
    let rotated = app.client(tenant.id, "memories:read", None).await;
    let rotate = format!("/v1/keys/{}/rotate", rotated.key.split('_').nth(2).expect("an id"));
    let writes = [
        (&tenant.client, "/v1/keys", json!({"name": "once", "scopes": ["memories:read"]}), "key", 201),
        (&tenant.client, rotate.as_str(), json!({"overlap_secs": 60}), "key", 200),
        (&operator, "/v1/platform/tenants", json!({"name": "once", "quotas": {"memories": 1}}), "api_key", 201),
    ];
    for (caller, path, body, secret, status) in writes {
        let send = |url: String| {
            let caller = caller.at(url);
            let request = caller.request(Method::POST, path).header("idempotency-key", "one").json(&body);
            async move { caller.send(request).await }
        };
        let (a, b, c, d, e) =
            tokio::join!(send(app.url()), send(sibling.url()), send(app.url()), send(sibling.url()), send(app.url()));
        let mut answers = vec![a, b, c, d, e];
        answers.retain(|answer| {
            if answer.status == 409 {
                answer.assert_problem(409, "idempotency_in_progress");
            }
            answer.status != 409
        });
        answers.push(send(sibling.url()).await);
        let shown: Vec<bool> = answers.iter().map(|answer| answer.expect(status)[secret].is_string()).collect();
        assert_eq!(shown.iter().filter(|shown| **shown).count(), 1, "{path}: {shown:?}");
        let last = answers.last().expect("an answer");
        assert_eq!((last.header("idempotency-replayed"), &last.json()[secret]), ("true", &json!(null)));
        let same = |answer: &Answer| {
            let mut body = answer.json();
            body[secret] = json!(null);
            body
        };
        assert!(answers.windows(2).all(|pair| same(&pair[0]) == same(&pair[1])), "{path}");
    }
    let revoke = || tenant.request(Method::DELETE, rotate.trim_end_matches("/rotate")).header("idempotency-key", "two");
    for _ in 0..3 {
        tenant.send(revoke()).await.expect(204);
    }
    let other = tenant.request(Method::POST, "/v1/keys").header("idempotency-key", "one");
    let other = other.json(&json!({"name": "another", "scopes": ["memories:read"]}));
    tenant.send(other).await.assert_problem(422, "idempotency_key_reused");
}
