//! What was acknowledged shows in every recall that begins later, on either server, however warm the caches are.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{Pair, ask, source};
use crate::harness::{Client, TestApp};

const QUESTIONS: usize = 3;

/// Different questions of the same meaning: plain, filtered, by words.
fn question(number: usize) -> Value {
    match number {
        0 => json!({"query": "kettle", "k": 50}),
        1 => json!({"query": "kettle", "k": 50, "filter": {"kinds": ["fact"]}}),
        _ => json!({"query": "kettle", "k": 50, "mode": "lexical"}),
    }
}

/// Asks until both servers answer from their caches.
async fn warm(pair: &Pair) {
    for number in 0..QUESTIONS {
        for client in [&pair.tenant.client, &pair.other()] {
            ask(client, "ada", question(number)).await;
            let again = ask(client, "ada", question(number)).await;
            assert!(source(&again).starts_with("hit"), "{}", source(&again));
        }
    }
}

/// Both servers answer as if there were no cache.
async fn assert_fresh(pair: &Pair, what: &str) {
    for number in 0..QUESTIONS {
        let computed = |mut question: Value| {
            question["cache"] = "bypass".into();
            question
        };
        let truth = ask(&pair.tenant, "ada", computed(question(number))).await.text;
        for client in [&pair.tenant.client, &pair.other()] {
            for _ in 0..2 {
                let answer = ask(client, "ada", question(number)).await;
                assert_eq!(answer.text, truth, "{what}: {}", source(&answer));
            }
        }
    }
}

/// A change, and what it is called.
async fn mutate(pair: &Pair, client: &Client, change: &str) {
    let id = async |content: &str| -> String {
        let list = client.get("/v1/agents/ada/memories?limit=200").await.expect(200);
        let items = list["items"].as_array().expect("items");
        let found = items.iter().find(|memory| memory["content"].as_str().is_some_and(|text| text.contains(content)));
        found.unwrap_or_else(|| panic!("no {content}"))["id"].as_str().expect("an id").to_owned()
    };
    let remember = "/v1/agents/ada/remember";
    match change {
        "remember" => drop(client.remember("ada", "A second kettle is in the attic.").await),
        "batch" => {
            let memories = [json!({"content": "Kettle three."}), json!({"content": "Kettle four.", "key": "four"})];
            client.post("/v1/agents/ada/remember/batch", json!({"memories": memories})).await.expect(200);
        }
        "replace" => {
            let memory = json!({"content": "Kettle four is copper.", "key": "four"});
            client.post(remember, memory).await.expect(200);
        }
        "replace, same text" => {
            let memory = json!({"content": "Kettle four is copper.", "key": "four", "importance": 0.9});
            client.post(remember, memory).await.expect(200);
        }
        "edit of text" => {
            let path = format!("/v1/memories/{}", id("Kettle three").await);
            client.patch(&path, json!({"content": "Kettle three is tin."})).await.expect(200);
        }
        "edit of tags" => {
            let path = format!("/v1/memories/{}", id("Kettle three").await);
            client.patch(&path, json!({"tags": ["tin"]})).await.expect(200);
        }
        "edit of kind" => {
            let path = format!("/v1/memories/{}", id("Kettle three").await);
            client.patch(&path, json!({"kind": "event"})).await.expect(200);
        }
        "forget" => {
            client.delete(&format!("/v1/memories/{}", id("Kettle three").await)).await.expect(204);
        }
        "forget by filter" => {
            let forgotten = client.post("/v1/agents/ada/forget", json!({"filter": {"key": "four"}})).await.expect(200);
            assert_eq!(forgotten["forgotten"], 1);
        }
        "purge of what has expired" => {
            let memory = json!({"content": "A kettle for a moment.", "expires_at": soon()});
            client.post(remember, memory).await.expect(201);
            warm(pair).await;
            tokio::time::sleep(SOON).await;
            assert_eq!(pair.there.purge_expired(pair.tenant.id, 100).await, 1);
        }
        "a new incarnation" => {
            client.delete("/v1/agents/ada").await.expect(200);
            client.put("/v1/agents/ada", json!({})).await.expect(201);
        }
        "flush of the agent" => {
            client.post("/v1/cache/flush", json!({"agent_id": "ada"})).await.expect(200);
        }
        "flush of all" => drop(client.post("/v1/cache/flush", json!({})).await.expect(200)),
        other => panic!("{other}"),
    }
}

/// Long enough for a busy machine to fill its caches before.
const SOON: Duration = Duration::from_secs(6);

fn soon() -> String {
    let soon = time::OffsetDateTime::now_utc() + SOON;
    soon.format(&time::format_description::well_known::Rfc3339).expect("a time")
}

/// The purge is not a request but a job.
const CHANGES: [&str; 13] = [
    "remember",
    "batch",
    "replace",
    "replace, same text",
    "edit of text",
    "edit of tags",
    "edit of kind",
    "forget",
    "forget by filter",
    "purge of what has expired",
    "flush of the agent",
    "flush of all",
    "a new incarnation",
];

async fn make_all_changes(pair: &Pair) {
    pair.tenant.remember("ada", "The kettle is in the kitchen.").await;
    for (number, change) in CHANGES.into_iter().enumerate() {
        warm(pair).await;
        let client = if number % 2 == 0 { pair.other() } else { pair.tenant.client.clone() };
        mutate(pair, &client, change).await;
        assert_fresh(pair, change).await;
    }
}

/// Events would clear away what is stale before anyone could take it.
#[tokio::test(flavor = "multi_thread")]
async fn every_change_shows_at_once_on_every_instance_and_without_any_event() {
    let pair = Pair::start().await;
    for app in [&pair.here, &pair.there] {
        app.app.bus.close();
    }
    make_all_changes(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_shows_at_once_on_every_instance_while_redis_is_down() {
    let pair = Pair::start_with(|config| config.cache.redis_deadline_ms = 25).await;
    pair.redis.kill();
    make_all_changes(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_not_taken_after_a_memory_of_its_scopes_has_expired() {
    let pair = Pair::start().await;
    pair.tenant.remember("ada", "The kettle is in the kitchen.").await;
    pair.tenant.remember_as("ada", json!({"content": "A kettle for a moment.", "expires_at": soon()})).await;
    // One that does not match counts too: it is among the documents that words are weighed by.
    pair.tenant.remember_as("ada", json!({"content": "Unrelated.", "expires_at": soon()})).await;
    warm(&pair).await;
    let before = ask(&pair.tenant, "ada", question(0)).await.json();
    assert_eq!(before["results"].as_array().map(Vec::len), Some(3), "{before}");
    tokio::time::sleep(SOON).await;
    assert_fresh(&pair, "an expiry").await;
    let after = ask(&pair.other(), "ada", question(0)).await.json();
    assert_eq!(after["results"].as_array().map(Vec::len), Some(1), "{after}");
}

/// Makes every row that a recall reads words from cost time, and no row that a write reads.
const DAWDLE: &str = "
    CREATE FUNCTION dawdle() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
    BEGIN
        IF current_setting('application_name') = 'cairn search' THEN
            PERFORM pg_sleep(0.3);
        END IF;
        RETURN true;
    END
    $$;
    GRANT EXECUTE ON FUNCTION dawdle() TO cairn_app;
    DROP POLICY placement_terms_isolation ON placement_terms;
    CREATE POLICY placement_terms_isolation ON placement_terms USING (tenant_id = current_tenant() AND dawdle())";

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_read_before_a_write_is_neither_shared_with_nor_kept_for_those_after_it() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is in the kitchen.").await;
    sqlx::raw_sql(DAWDLE).execute(&mut app.database.superuser().await).await.expect("a slow search");
    let before = tokio::spawn({
        let client = tenant.client.clone();
        async move { ask(&client, "ada", question(0)).await.json() }
    });
    // It has read what is there, and takes its time.
    tokio::time::sleep(Duration::from_millis(150)).await;
    tenant.remember("ada", "The other kettle is in the attic.").await;
    assert!(!before.is_finished(), "the search is under way");
    for _ in 0..2 {
        let after = ask(&tenant, "ada", question(0)).await.json();
        assert_eq!(after["results"].as_array().map(Vec::len), Some(2), "{after}");
    }
    before.await.expect("an answer");
    let later = ask(&tenant, "ada", question(0)).await.json();
    assert_eq!(later["results"].as_array().map(Vec::len), Some(2), "{later}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_that_is_wrong_would_be_noticed() {
    let app = TestApp::start_with(|config| config.cache.verify_one_in = 1).await;
    let tenant = app.new_tenant().await;
    let memory = tenant.remember("ada", "The kettle is in the kitchen.").await;
    let mismatches = async || {
        let metrics = app.stranger().get("/metrics").await.text;
        let line =
            metrics.lines().find(|line| line.starts_with("cairn_cache_mismatch_total ")).expect("a line").to_owned();
        line.rsplit_once(' ').and_then(|(_, count)| count.parse::<u64>().ok()).expect("a number")
    };
    for _ in 0..5 {
        ask(&tenant, "ada", question(0)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(mismatches().await, 0);

    // Somebody goes behind the server's back.
    let mut database = app.database.superuser().await;
    let id: Uuid = memory["id"].as_str().expect("an id").parse().expect("a UUID");
    let sql = format!(
        "SET session_replication_role = replica; UPDATE memories SET content = 'It is not.' WHERE memory_id = '{id}'"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut database).await.expect("corrupted");
    for _ in 0..100 {
        assert!(source(&ask(&tenant, "ada", question(0)).await).starts_with("hit"));
        tokio::time::sleep(Duration::from_millis(50)).await;
        if mismatches().await > 0 {
            return;
        }
    }
    panic!("nobody noticed");
}
