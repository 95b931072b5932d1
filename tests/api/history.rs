//! History: what a memory said before, who changed it, and nothing of it once it is forgotten.

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::harness::{Client, TestApp};

fn path(memory: &Value) -> String {
    format!("/v1/memories/{}", memory["id"].as_str().expect("id"))
}

async fn history(client: &Client, memory: &Value) -> Value {
    client.get(&format!("{}/history", path(memory))).await.expect(200)
}

/// The public part of a key, which is how a history names it.
fn principal(client: &Client) -> String {
    let id = client.key.split('_').nth(2).expect("a key id");
    uuid::Uuid::parse_str(id).expect("a uuid").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_says_what_changed_when_and_by_whom() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let editor = app.client(tenant.id, "memories:read,memories:write", None).await;
    let first = tenant
        .remember_as(
            "ada",
            json!({"content": "one", "key": "k", "tags": ["a"], "metadata": {"n": 0.1}, "speaker": "Mel"}),
        )
        .await;
    let second = editor.patch(&path(&first), json!({"content": "two", "tags": null})).await.expect(200);
    editor.patch(&path(&first), json!({"content": "two"})).await.expect(200);
    let third = tenant.post("/v1/agents/ada/remember", json!({"content": "two", "key": "k", "importance": 1})).await;
    let third = third.expect(200);

    let answer = history(&tenant, &first).await;
    let items = answer["items"].as_array().expect("items");
    let summary: Vec<(i64, &Value)> =
        items.iter().map(|item| (item["version"].as_i64().expect("a version"), &item["changed"])).collect();
    assert_eq!(
        summary,
        [(3, &json!(["importance", "metadata", "speaker"])), (2, &json!(["content", "tags"])), (1, &json!([]))],
        "an edit that changes nothing is no version"
    );
    for (item, memory) in items.iter().zip([&third, &second, &first]) {
        for field in ["content", "kind", "key", "tags", "importance", "metadata", "speaker", "source", "expires_at"] {
            assert_eq!(item[field], memory[field], "{field} of version {}", item["version"]);
        }
        assert_eq!(item["written_at"], memory["updated_at"]);
    }
    let writers: Vec<&Value> = items.iter().map(|item| &item["written_by"]).collect();
    assert_eq!(writers, [&json!(principal(&tenant)), &json!(principal(&editor)), &json!(principal(&tenant))]);
    assert_eq!((&answer["forgotten"], &answer["next_cursor"]), (&json!(null), &json!(null)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_pages_and_every_page_knows_what_changed() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let memory = tenant.remember("ada", "stone 1").await;
    for n in 2..=7 {
        tenant.patch(&path(&memory), json!({"content": format!("stone {n}")})).await.expect(200);
    }
    let (mut seen, mut query) = (Vec::new(), "?limit=3".to_owned());
    loop {
        let page = tenant.get(&format!("{}/history{query}", path(&memory))).await.expect(200);
        seen.extend(
            page["items"]
                .as_array()
                .expect("items")
                .iter()
                .map(|item| (item["content"].as_str().expect("content").to_owned(), item["changed"].clone())),
        );
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("?limit=3&cursor={cursor}");
    }
    let expected: Vec<(String, Value)> =
        (1..=7).rev().map(|n| (format!("stone {n}"), if n == 1 { json!([]) } else { json!(["content"]) })).collect();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_for_the_author_and_for_those_who_are_bound_to_no_agent() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let memory = tenant.remember("ada", "stone").await;
    tenant.remember("bob", "other").await;
    let (ada, bob) = (app.client(tenant.id, "all", Some("ada")).await, app.client(tenant.id, "all", Some("bob")).await);
    history(&ada, &memory).await;
    let history_path = format!("{}/history", path(&memory));
    bob.get(&history_path).await.assert_problem(404, "not_found");
    share_with_a_circle(&app, "bob", &memory).await;
    assert_eq!(bob.get(&path(&memory)).await.expect(200)["content"], "stone", "the circle shows it");
    bob.get(&history_path).await.assert_problem(403, "not_author");

    ada.delete(&path(&memory)).await;
    bob.get(&history_path).await.assert_problem(404, "not_found");
    assert_eq!(history(&ada, &memory).await["forgotten"]["forgotten_by"], principal(&ada));
}

/// Puts a memory into a circle with this member.
async fn share_with_a_circle(app: &TestApp, member: &str, memory: &Value) {
    let mut superuser = app.database.superuser().await;
    let id = memory["id"].as_str().expect("id");
    let sql = format!(
        "BEGIN;
         INSERT INTO circles (tenant_id, circle_uid, circle_id, name, content_scope, board_scope)
         SELECT tenant_id, gen_random_uuid(), 'kitchen', 'Kitchen', gen_random_uuid(), gen_random_uuid() FROM agents WHERE agent_id = '{member}';
         INSERT INTO scope_epochs (tenant_id, scope_id, tag) SELECT tenant_id, content_scope, gen_random_uuid() FROM circles;
         INSERT INTO circle_members (tenant_id, agent_uid, circle_uid, role, circle_id, content_scope)
         SELECT a.tenant_id, a.agent_uid, c.circle_uid, 'reader', c.circle_id, c.content_scope FROM agents a, circles c WHERE a.agent_id = '{member}';
         INSERT INTO placement_terms (tenant_id, scope_id, memory_id, n, terms)
         SELECT tenant_id, content_scope, '{id}', 1, '{{}}' FROM circles;
         UPDATE scope_epochs SET n = n + 1, tag = gen_random_uuid();
         COMMIT"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut superuser).await.expect("shares");
}

/// Everything in the database as text, but for what was never secret: ids, names, hashes.
async fn everything(app: &TestApp) -> String {
    let mut superuser = app.database.superuser().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'cairn'::regnamespace AND relkind = 'r' ORDER BY 1",
    )
    .fetch_all(&mut superuser)
    .await
    .expect("tables");
    let mut all = String::new();
    for table in tables {
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("SELECT t::text FROM {table} t")))
            .fetch_all(&mut superuser)
            .await
            .expect("rows");
        all.push_str(&rows.join("\n"));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn forgetting_and_erasing_leave_nothing_that_was_said() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let mut memories = Vec::new();
    for agent in ["ada", "bob", "eve"] {
        let memory = json!({"content": "obsidian one", "key": "obsidian", "tags": ["obsidian"], "speaker": "obsidian",
            "source": {"type": "note", "id": "obsidian"}, "metadata": {"obsidian": "obsidian"}});
        let memory = tenant.remember_as(agent, memory).await;
        tenant.patch(&path(&memory), json!({"content": "obsidian two"})).await.expect(200);
        tenant.patch(&path(&memory), json!({"content": "obsidian three"})).await.expect(200);
        memories.push(memory);
    }
    assert_eq!(everything(&app).await.matches("obsidian one").count(), 3, "the history holds them");
    tenant.delete(&path(&memories[0])).await;
    tenant.post("/v1/agents/bob/forget", json!({"filter": {"key": "obsidian"}})).await.expect(200);
    tenant.delete("/v1/agents/eve").await.expect(200);
    let left = everything(&app).await;
    assert!(!left.contains("obsidian"), "{:?}", left.lines().find(|line| line.contains("obsidian")));
    for memory in &memories {
        tenant.get(&path(memory)).await.assert_problem(404, "not_found");
        let answer = history(&tenant, memory).await;
        assert_eq!((&answer["items"], &answer["next_cursor"]), (&json!([]), &json!(null)));
        assert_eq!(answer["forgotten"]["forgotten_by"], principal(&tenant));
        assert!(answer["forgotten"]["forgotten_at"].is_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expires_leaves_no_trace() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let memory = tenant.remember_as("ada", json!({"content": "brief", "expires_at": "2999-01-01T00:00:00Z"})).await;
    tenant.patch(&path(&memory), json!({"content": "brief still"})).await.expect(200);
    let mut superuser = app.database.superuser().await;
    let expire = "BEGIN; UPDATE scope_epochs SET n = n + 1; UPDATE memories SET expires_at = now();
         UPDATE placements SET expires_at = now(); UPDATE placement_terms SET expires_at = now(); COMMIT";
    sqlx::raw_sql(expire).execute(&mut superuser).await.expect("expires");
    let history_path = format!("{}/history", path(&memory));
    tenant.get(&history_path).await.assert_problem(404, "not_found");
    assert_eq!(app.purge_expired(tenant.id, 10).await, 1);
    tenant.get(&history_path).await.assert_problem(404, "not_found");
    assert!(!everything(&app).await.contains("brief"));
}

/// What the release before this one does to a memory, in its own statements.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_knows_no_history_can_write_and_forget_beside_this_one() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let memory = tenant.remember("ada", "obsidian one").await;
    tenant.patch(&path(&memory), json!({"content": "obsidian two"})).await.expect(200);
    let mut superuser = app.database.superuser().await;
    let edit = "BEGIN; UPDATE scope_epochs SET n = n + 1;
         UPDATE memories SET content = 'obsidian three', version = version + 1, updated_at = now(); COMMIT";
    sqlx::raw_sql(edit).execute(&mut superuser).await.expect("the older release edits");
    let items = history(&tenant, &memory).await["items"].clone();
    assert_eq!((&items[0]["version"], &items[0]["written_by"]), (&json!(3), &json!(null)), "nobody is named wrongly");
    assert_eq!((&items[1]["version"], &items[1]["content"]), (&json!(1), &json!("obsidian one")));
    let forget = "BEGIN; UPDATE scope_epochs SET n = n + 1; DELETE FROM placements; DELETE FROM placement_terms;
         DELETE FROM memories; COMMIT";
    sqlx::raw_sql(forget).execute(&mut superuser).await.expect("the older release forgets");
    assert!(!everything(&app).await.contains("obsidian"));
}
