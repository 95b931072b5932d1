//! Memories: remembered once, edited, listed, forgotten.

use serde_json::{Value, json};

use crate::harness::{Client, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_remembered_reads_back_as_sent() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let sent = json!({
        "content": "  Ärger mit dem Kessel 🫖\n\u{202e}rtl ", "kind": "event", "key": "kettle", "tags": ["b", "a", "b"],
        "importance": 0.75, "metadata": {"n": 1e300, "deep": {"list": [1, "x", null, true, -0.5]}}, "speaker": "Mel",
        "source": {"type": "conversation", "id": "7", "seq": 12},
        "occurred_at": "2026-01-31T13:00:00+01:00", "expires_at": "2999-01-01T00:00:00Z",
    });
    let memory = tenant.remember_as("ada", sent.clone()).await;
    for field in ["content", "kind", "key", "importance", "metadata", "speaker", "source", "expires_at"] {
        assert_eq!(memory[field], sent[field], "{field}");
    }
    assert_eq!(memory["tags"], json!(["b", "a"]), "each tag once, in the order sent");
    assert_eq!(memory["occurred_at"], "2026-01-31T12:00:00Z", "times are in UTC");
    assert_eq!((&memory["agent_id"], &memory["version"], &memory["circles"]), (&json!("ada"), &json!(1), &json!([])));

    let path = format!("/v1/memories/{}", memory["id"].as_str().expect("id"));
    assert_eq!(tenant.get(&path).await.expect(200), memory);
    assert_eq!(tenant.get("/v1/agents/ada/memories").await.expect(200)["items"], json!([memory]));
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_content_is_stored_once() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let first = tenant.remember("ada", "The kettle is broken.").await;
    let again =
        tenant.post("/v1/agents/ada/remember", json!({"content": "The kettle is broken.", "importance": 1})).await;
    assert_eq!(again.header("cairn-duplicate"), "true");
    assert_eq!(again.expect(200), first, "nothing else changes");
    let other = tenant.remember("bob", "The kettle is broken.").await;
    assert_ne!(other["id"], first["id"], "another agent remembers for itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_equal_remembers_at_once_make_one_memory() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    for body in [json!({"content": "once"}), json!({"content": "keyed", "key": "k"})] {
        let calls = (0..16).map(|_| tenant.post("/v1/agents/ada/remember", body.clone()));
        let answers = futures_util::future::join_all(calls).await;
        let created = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(created, 1, "{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
        assert!(answers.iter().all(|answer| answer.json()["id"] == answers[0].json()["id"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_replaces_every_field() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let first = tenant.remember_as("ada", json!({"content": "one", "key": "k", "tags": ["a"], "speaker": "Mel"})).await;
    let second = tenant.post("/v1/agents/ada/remember", json!({"content": "two", "key": "k"})).await.expect(200);
    assert_eq!((&second["id"], &second["version"]), (&first["id"], &json!(2)));
    assert_eq!((&second["tags"], &second["speaker"]), (&json!([]), &json!(null)), "what is left out gets its default");
    let same = tenant.post("/v1/agents/ada/remember", json!({"content": "two", "key": "k"})).await;
    assert_eq!(same.header("cairn-duplicate"), "");
    assert_eq!(same.expect(200), second, "identical: nothing changes");
    assert_eq!(tenant.recalled("ada", json!({"query": "one two"})).await, ["two"]);
    // The same key spelled with a combining accent is the same key.
    let accent = tenant.remember_as("ada", json!({"content": "three", "key": "caf\u{e9}"})).await;
    let composed =
        tenant.post("/v1/agents/ada/remember", json!({"content": "four", "key": "cafe\u{301}"})).await.expect(200);
    assert_eq!(composed["id"], accent["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_remembered_whole_and_in_order() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember_as("ada", json!({"content": "old", "key": "k"})).await;
    let batch =
        json!({"memories": [{"content": "a"}, {"content": "new", "key": "k"}, {"content": "a"}, {"content": "b"}]});
    let answer = tenant.post("/v1/agents/ada/remember/batch", batch).await.expect(200);
    let items = answer["items"].as_array().expect("items");
    let outcomes: Vec<&str> = items.iter().map(|item| item["outcome"].as_str().expect("outcome")).collect();
    assert_eq!(outcomes, ["created", "replaced", "duplicate", "created"]);
    assert_eq!(items[0]["memory"]["id"], items[2]["memory"]["id"]);

    let bad = json!({"memories": [{"content": "fine"}, {"content": ""}, {"content": "x", "importance": 2}]});
    let problem = tenant.post("/v1/agents/ada/remember/batch", bad).await.assert_problem(422, "field_empty");
    assert_eq!(problem["errors"][0]["pointer"], "/memories/1/content");
    assert_eq!(problem["errors"][1]["pointer"], "/memories/2/importance");
    assert!(tenant.recalled("ada", json!({"query": "fine", "mode": "lexical"})).await.is_empty(), "nothing is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_changes_what_it_names_and_null_clears() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let memory = tenant
        .remember_as("ada", json!({"content": "red stone", "tags": ["a"], "speaker": "Mel", "metadata": {"x": 1}}))
        .await;
    let path = format!("/v1/memories/{}", memory["id"].as_str().expect("id"));

    let patched = tenant
        .patch(&path, json!({"speaker": null, "tags": null, "importance": 0.9, "metadata": {"y": 2}}))
        .await
        .expect(200);
    assert_eq!((&patched["speaker"], &patched["tags"]), (&json!(null), &json!([])));
    assert_eq!((&patched["metadata"], &patched["version"]), (&json!({"x": 1, "y": 2}), &json!(2)));
    let same = tenant.patch(&path, json!({"importance": 0.9})).await.expect(200);
    assert_eq!(same["version"], 2, "no change, no version");

    tenant.patch(&path, json!({"content": "blue feather"})).await.expect(200);
    assert_eq!(tenant.recalled("ada", json!({"query": "feather", "mode": "lexical"})).await, ["blue feather"]);
    assert!(tenant.recalled("ada", json!({"query": "stone", "mode": "lexical"})).await.is_empty());

    tenant.remember_as("ada", json!({"content": "other", "key": "taken"})).await;
    tenant.patch(&path, json!({"key": "taken"})).await.assert_problem(409, "key_taken");
    tenant.patch(&path, json!({"content": null})).await.assert_problem(422, "invalid_type");
    let stale =
        tenant.request(reqwest::Method::PATCH, &path).header("if-match", "\"x-1\"").json(&json!({"kind": "error"}));
    tenant.send(stale).await.assert_problem(412, "precondition_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_memory_is_gone_from_everywhere() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let memory = tenant.remember("ada", "The kettle is broken.").await;
    let path = format!("/v1/memories/{}", memory["id"].as_str().expect("id"));
    assert_eq!(tenant.delete(&path).await.status, 204);
    tenant.get(&path).await.assert_problem(404, "not_found");
    tenant.delete(&path).await.assert_problem(404, "not_found");
    assert!(tenant.recalled("ada", json!({"query": "kettle"})).await.is_empty());
    let again = tenant.remember("ada", "The kettle is broken.").await;
    assert_ne!(again["id"], memory["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn forget_takes_what_matches_and_nothing_else() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    for n in 0..6 {
        let memory = json!({"content": format!("stone {n}"), "tags": [if n % 2 == 0 { "even" } else { "odd" }], "metadata": {"n": n}});
        tenant.remember_as("ada", memory.clone()).await;
        tenant.remember_as("bob", memory).await;
    }
    let forget = json!({"filter": {"tags_any": ["even"], "metadata": {"n": {"gte": 2}}}});
    let forgotten = tenant.post("/v1/agents/ada/forget", forget.clone()).await.expect(200);
    assert_eq!(forgotten, json!({"forgotten": 2}));
    assert_eq!(tenant.post("/v1/agents/ada/forget", forget).await.expect(200), json!({"forgotten": 0}));
    assert_eq!(tenant.get("/v1/agents/ada/stats").await.expect(200)["memories"], 4);
    assert_eq!(tenant.get("/v1/agents/bob/stats").await.expect(200)["memories"], 6);
    tenant.post("/v1/agents/ada/forget", json!({"filter": {}})).await.assert_problem(422, "field_empty");
    tenant.post("/v1/agents/eve/forget", json!({"filter": {"kinds": ["fact"]}})).await.assert_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_filters_and_pages_newest_first() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    for n in 0..9 {
        let kind = if n % 3 == 0 { "event" } else { "fact" };
        tenant
            .remember_as("ada", json!({"content": format!("stone {n}"), "kind": kind, "tags": [format!("t{n}")]}))
            .await;
    }
    let contents = |page: &Value| -> Vec<String> {
        page["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| item["content"].as_str().expect("content").to_owned())
            .collect()
    };
    let first = tenant.get("/v1/agents/ada/memories?kinds=fact&limit=4").await.expect(200);
    let cursor = first["next_cursor"].as_str().expect("more");
    // What is remembered meanwhile is newer than the first page and moves nothing.
    tenant.remember("ada", "stone 9").await;
    let second = tenant.get(&format!("/v1/agents/ada/memories?kinds=fact&limit=4&cursor={cursor}")).await.expect(200);
    assert_eq!(
        [contents(&first), contents(&second)].concat(),
        ["stone 8", "stone 7", "stone 5", "stone 4", "stone 2", "stone 1"]
    );
    assert_eq!(second["next_cursor"], json!(null));
    let tagged = tenant.get("/v1/agents/ada/memories?tags_any=t1&tags_any=t2").await.expect(200);
    assert_eq!(contents(&tagged), ["stone 2", "stone 1"]);
}

async fn remember_briefly(client: &Client, app: &TestApp, memory: Value) -> Value {
    // The API takes no expiry in the past, so the database's clock is moved instead: the row is dated back.
    let remembered = client.remember_as("ada", memory).await;
    let mut superuser = app.database.superuser().await;
    let id = remembered["id"].as_str().expect("id").to_owned();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "BEGIN;
         UPDATE scope_epochs SET n = n + 1 WHERE scope_id IN (SELECT scope_id FROM placement_terms WHERE memory_id = '{id}');
         UPDATE memories SET expires_at = now() WHERE memory_id = '{id}';
         UPDATE placements SET expires_at = now() WHERE memory_id = '{id}';
         UPDATE placement_terms SET expires_at = now() WHERE memory_id = '{id}';
         COMMIT;"
    )))
    .execute(&mut superuser)
    .await
    .expect("dates the memory back");
    remembered
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_absent_and_gets_purged() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let memory = remember_briefly(
        &tenant,
        &app,
        json!({"content": "short lived", "key": "k", "expires_at": "2999-01-01T00:00:00Z"}),
    )
    .await;
    tenant.remember("ada", "long lived").await;
    let path = format!("/v1/memories/{}", memory["id"].as_str().expect("id"));

    tenant.get(&path).await.assert_problem(404, "not_found");
    tenant.patch(&path, json!({"kind": "event"})).await.assert_problem(404, "not_found");
    tenant.delete(&path).await.assert_problem(404, "not_found");
    assert_eq!(tenant.recalled("ada", json!({"query": "lived"})).await, ["long lived"]);
    assert_eq!(tenant.get("/v1/agents/ada/memories").await.expect(200)["items"].as_array().map(Vec::len), Some(1));

    // Its key is free, and the new memory is a new one.
    let again = tenant.remember_as("ada", json!({"content": "short lived", "key": "k"})).await;
    assert_ne!(again["id"], memory["id"]);
    remember_briefly(&tenant, &app, json!({"content": "gone soon", "expires_at": "2999-01-01T00:00:00Z"})).await;
    assert_eq!(app.purge_expired(tenant.id, 100).await, 1);
    assert_eq!(app.purge_expired(tenant.id, 100).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_takes_nobodys_place() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let batch: Vec<Value> = (0..100)
        .map(|n| json!({"content": format!("kettle kettle {n}"), "expires_at": "2999-01-01T00:00:00Z"}))
        .collect();
    tenant.post("/v1/agents/ada/remember/batch", json!({"memories": batch})).await.expect(200);
    let mut superuser = app.database.superuser().await;
    sqlx::raw_sql(
        "BEGIN;
         UPDATE scope_epochs SET n = n + 1;
         UPDATE memories SET expires_at = now();
         UPDATE placements SET expires_at = now();
         UPDATE placement_terms SET expires_at = now();
         COMMIT",
    )
    .execute(&mut superuser)
    .await
    .expect("everything so far expires");
    for content in ["a kettle on the hob", "a kettle in the shed", "a kettle for the trip"] {
        tenant.remember("ada", content).await;
    }
    for mode in ["hybrid", "semantic", "lexical"] {
        assert_eq!(tenant.recalled("ada", json!({"query": "kettle", "mode": mode, "k": 3})).await.len(), 3, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_takes_effect_at_its_second() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let mut superuser = app.database.superuser().await;
    let soon: String =
        sqlx::query_scalar("SELECT to_char(now() + interval '1.5 seconds', 'YYYY-MM-DD\"T\"HH24:MI:SS.USOF\":00\"')")
            .fetch_one(&mut superuser)
            .await
            .expect("a time");
    tenant.remember_as("ada", json!({"content": "kettle", "expires_at": soon})).await;
    assert_eq!(tenant.recalled("ada", json!({"query": "kettle"})).await, ["kettle"]);
    tokio::time::sleep(std::time::Duration::from_millis(1600)).await;
    assert!(tenant.recalled("ada", json!({"query": "kettle"})).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_made_by_the_trusted_alone() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.post("/v1/agents/ada/recall", json!({"query": "x"})).await.assert_problem(404, "not_found");
    tenant.remember("ada", "here I am").await;
    let bound = app.client(tenant.id, "all", Some("ada")).await;
    bound.remember("ada", "and again").await;
    bound.post("/v1/agents/bob/remember", json!({"content": "x"})).await.assert_problem(404, "not_found");

    let mut superuser = app.database.superuser().await;
    sqlx::query("UPDATE tenants SET auto_create_agents = false").execute(&mut superuser).await.expect("a setting");
    tenant.post("/v1/agents/eve/remember", json!({"content": "x"})).await.assert_problem(404, "not_found");
    tenant.remember("ada", "known agents remember").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_that_is_not_there_cannot_be_shared_with() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let shared = json!({"content": "x", "circles": ["kitchen"]});
    tenant.post("/v1/agents/ada/remember", shared).await.assert_problem(404, "not_found");
    tenant.get("/v1/agents/ada").await.assert_problem(404, "not_found");
    tenant.remember_as("ada", json!({"content": "x", "circles": []})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_number_that_is_accepted_reads_back_as_sent() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let sent = json!([f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, 0.1 + 0.2, 1e23, 9007199254740993_i64, i64::MIN]);
    let memory = json!({"content": "The kettle is broken.", "metadata": {"numbers": sent}, "source":
        {"type": "conversation", "id": "1", "seq": 12.0}});
    let stored = tenant.remember_as("ada", memory).await;
    assert_eq!(stored["metadata"]["numbers"], sent);
    assert_eq!(stored["source"]["seq"], 12, "12.0 is a whole number");
    let listed = tenant.get("/v1/agents/ada/memories").await.expect(200);
    assert_eq!(listed["items"][0]["metadata"]["numbers"], sent);
    let recalled = tenant.recall("ada", json!({"query": "kettle", "k": 1e0})).await;
    assert_eq!(recalled["results"][0]["memory"]["metadata"]["numbers"], sent);
}
