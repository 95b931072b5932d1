//! Indexes of large scopes: when they come and go, and that recalls which use them miss next to nothing and are never
//! short of an answer.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn::config::Config;
use cairn::jobs::{self, Chore, Run, RunState};
use serde_json::{Value, json};

use super::{count, run_chore, sql, working};
use crate::harness::{Client, Tenant, TestApp};

/// A scope of this size has an index.
const LARGE: u64 = 500;

fn small_threshold(config: &mut Config) {
    working(config);
    config.recall.exact_scope_max = LARGE;
    // What is in memory needs no index.
    config.recall.hot_index_mb = 0;
}

async fn stage() -> (TestApp, Tenant) {
    let app = TestApp::start_with(small_threshold).await;
    jobs::ensure_chores(app.db()).await.expect("jobs");
    let tenant = app.new_tenant().await;
    (app, tenant)
}

/// Memories about forty things; every tenth and every hundredth has a tag that says so.
async fn fill(client: &Client, agent: &str, memories: usize) -> Vec<String> {
    let numbers: Vec<usize> = (0..memories).collect();
    let mut ids = Vec::new();
    for batch in numbers.chunks(100) {
        let batch: Vec<Value> = batch.iter().map(|n| memory(*n)).collect();
        let answer = client.post(&format!("/v1/agents/{agent}/remember/batch"), json!({"memories": batch})).await;
        let answer = answer.expect(200);
        let results = answer["items"].as_array().expect("items").iter();
        ids.extend(results.map(|one| one["memory"]["id"].as_str().expect("an id").to_owned()));
    }
    ids
}

fn memory(n: usize) -> Value {
    let tags: Vec<&str> =
        [("tenth", 10), ("hundredth", 100)].iter().filter(|tag| n.is_multiple_of(tag.1)).map(|tag| tag.0).collect();
    let content =
        format!("thing{} of colour{} in room{} was seen by person{} as number{n}", n % 40, n % 13, n % 7, n % 101);
    json!({"content": content, "tags": tags})
}

fn questions() -> impl Iterator<Item = String> {
    (0..10).map(|n| format!("thing{} colour{} room{} person{}", n * 3, n % 13, n % 7, n * 9))
}

/// One run of the chore, which sees the scopes as they are now.
async fn tend(app: &TestApp) -> Value {
    sql(app, "ANALYZE placements").await;
    let run: Run = run_chore(app, Chore::IndexScopes).await;
    assert_eq!(run.state, RunState::Succeeded, "{run:?}");
    run.report.expect("a report")
}

async fn ask(client: &Client, agent: &str, query: &str, more: &Value) -> (Vec<String>, bool) {
    let mut request = json!({"query": query, "mode": "semantic", "cache": "bypass"});
    request.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let answer = client.recall(agent, request).await;
    let results = answer["results"].as_array().expect("results").iter();
    let ids = results.map(|one| one["memory"]["id"].as_str().expect("an id").to_owned()).collect();
    (ids, answer["approximate"].as_bool().expect("a flag"))
}

/// The answers to all questions, with the index and without.
async fn both_ways(app: &TestApp, client: &Client, more: &Value) -> Vec<[(Vec<String>, bool); 2]> {
    let mut answers = Vec::new();
    for question in questions() {
        sql(app, "UPDATE scope_indexes SET state = 'ready'").await;
        let indexed = ask(client, "ada", &question, more).await;
        sql(app, "UPDATE scope_indexes SET state = 'dropping'").await;
        answers.push([indexed, ask(client, "ada", &question, more).await]);
    }
    sql(app, "UPDATE scope_indexes SET state = 'ready'").await;
    answers
}

/// The share of the exact answers that the index found too.
fn share_found(answers: &[[(Vec<String>, bool); 2]]) -> f64 {
    let (mut found, mut all) = (0, 0);
    for [(indexed, _), (exact, _)] in answers {
        let indexed: HashSet<&String> = indexed.iter().collect();
        found += exact.iter().filter(|id| indexed.contains(id)).count();
        all += exact.len();
    }
    f64::from(u32::try_from(found).expect("few")) / f64::from(u32::try_from(all).expect("few"))
}

async fn indexes(app: &TestApp) -> i64 {
    let sql = "SELECT count(*) FROM pg_class WHERE relkind = 'i' AND relname LIKE 'placements\\_near\\_%'";
    count(&mut app.database.superuser().await, sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_of_any_selectivity_bring_back_all_that_is_wanted() {
    let (app, tenant) = stage().await;
    fill(&tenant, "ada", 2_000).await;
    assert_eq!(tend(&app).await, json!({"kept": 0, "built": 1, "dropped": 0}));
    let cases = [
        (json!({"k": 10}), 10, true),
        (json!({"k": 10, "filter": {"tags_any": ["tenth"]}}), 10, true),
        (json!({"k": 10, "filter": {"tags_any": ["hundredth"]}}), 10, false),
        (json!({"k": 100, "filter": {"tags_any": ["hundredth"]}}), 20, false),
        (json!({"k": 100, "filter": {"tags_any": ["tenth"]}}), 100, false),
    ];
    for (request, expected, by_index) in cases {
        let answers = both_ways(&app, &tenant, &request).await;
        for [(indexed, _), (exact, approximate)] in &answers {
            assert_eq!((indexed.len(), exact.len(), *approximate), (expected, expected, false), "{request}");
        }
        let share = share_found(&answers);
        assert!(share >= 0.98, "{request}: {share} of the nearest were found");
        assert!(answers.iter().any(|[(_, approximate), _]| *approximate) || !by_index, "{request}: an index was asked");
    }
    let used = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname LIKE 'placements\\_near\\_%'";
    for _ in 0..200 {
        if count(&mut app.database.superuser().await, used).await > 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("Postgres has not read the index once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_or_expired_is_neither_found_nor_missed() {
    let (app, tenant) = stage().await;
    let ids = fill(&tenant, "ada", 700).await;
    tend(&app).await;
    // All that is left of seven hundred: sixty, which the others hide from an index that is asked only once.
    for id in &ids[..40] {
        tenant.delete(&format!("/v1/memories/{id}")).await.expect(204);
    }
    let left: HashSet<&String> = ids[640..].iter().collect();
    let expired = "BEGIN; UPDATE scope_epochs SET n = n + 1, tag = gen_random_uuid();
                   UPDATE memories SET expires_at = now() WHERE memory_id IN (SELECT memory_id FROM memories ORDER BY memory_id LIMIT 600);
                   UPDATE placements p SET expires_at = m.expires_at FROM memories m WHERE m.memory_id = p.memory_id;
                   UPDATE placement_terms p SET expires_at = m.expires_at FROM memories m WHERE m.memory_id = p.memory_id;
                   COMMIT";
    sql(&app, expired).await;
    for k in [10, 60, 100] {
        for [(indexed, _), (exact, _)] in both_ways(&app, &tenant, &json!({"k": k})).await {
            assert_eq!(indexed.len(), k.min(60));
            assert!(indexed.iter().all(|id| left.contains(id)));
            assert_eq!(exact.len(), k.min(60));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memories_of_many_windows_leave_room_for_the_others() {
    let (app, tenant) = stage().await;
    fill(&tenant, "ada", 600).await;
    for n in 0..40 {
        let long =
            format!("thing0 colour0 room0 person0 as chapter{n} ") + &"thing0 colour0 room0 person0 ".repeat(400);
        tenant.remember("ada", &long).await;
    }
    tend(&app).await;
    let windows = count(&mut app.database.superuser().await, "SELECT count(*) FROM placements").await;
    assert!(windows > 900, "{windows}");
    for [(indexed, approximate), (exact, _)] in both_ways(&app, &tenant, &json!({"k": 80})).await {
        assert_eq!((indexed.len(), exact.len()), (80, 80), "by the index: {approximate}");
        assert_eq!(indexed.iter().collect::<HashSet<_>>().len(), 80);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_scope_is_searched_together_with_small_ones() {
    let (app, tenant) = stage().await;
    crate::circles::circle_of(&tenant, "kitchen", &[("ada", "owner"), ("bob", "editor")]).await;
    fill(&tenant, "ada", 600).await;
    let shared = json!({"content": "thing3 colour1 room1 person9 at last", "circles": ["kitchen"]});
    let shared = tenant.remember_as("bob", shared).await;
    tend(&app).await;
    let (found, approximate) = ask(&tenant, "ada", "thing3 colour1 room1 person9 at last", &json!({"k": 50})).await;
    assert!(approximate);
    assert_eq!((found[0].as_str(), found.len()), (shared["id"].as_str().expect("an id"), 50));
    let (_, approximate) = ask(&tenant, "bob", "thing3", &json!({})).await;
    assert!(!approximate, "his scopes are small");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_goes_when_its_scope_shrinks_or_its_tenant_goes() {
    let (app, tenant) = stage().await;
    let other = app.new_tenant().await;
    let ids = fill(&tenant, "ada", 501).await;
    fill(&other, "eve", 501).await;
    fill(&other, "bob", 500).await;
    assert_eq!(tend(&app).await, json!({"kept": 0, "built": 2, "dropped": 0}), "500 are not more than 500");
    assert_eq!(tend(&app).await, json!({"kept": 2, "built": 0, "dropped": 0}));
    for id in &ids[..252] {
        tenant.delete(&format!("/v1/memories/{id}")).await.expect(204);
    }
    assert_eq!(tend(&app).await, json!({"kept": 1, "built": 0, "dropped": 1}), "249 are less than half");
    let erased = cairn::db::Intent::of_operator(cairn::ids::TenantId::OPERATOR);
    cairn::erase::begin(app.db().clone(), erased, other.id, Default::default()).await.expect("begins");
    cairn::erase::finish(app.db(), other.id, |_, _| {}).await.expect("erased");
    assert_eq!(indexes(&app).await, 1);
    assert_eq!(tend(&app).await, json!({"kept": 0, "built": 0, "dropped": 1}));
    assert_eq!(indexes(&app).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_is_made_whole_by_the_next_run() {
    let (app, tenant) = stage().await;
    fill(&tenant, "ada", 600).await;
    tend(&app).await;
    let invalid = "UPDATE pg_index SET indisvalid = false
                    WHERE indexrelid IN (SELECT oid FROM pg_class WHERE relname LIKE 'placements\\_near\\_%');
                   UPDATE scope_indexes SET state = 'building', ready_at = NULL";
    sql(&app, invalid).await;
    let (found, approximate) = ask(&tenant, "ada", "thing3", &json!({})).await;
    assert_eq!((found.len(), approximate), (10, false), "half an index is none");
    assert_eq!(tend(&app).await, json!({"kept": 0, "built": 1, "dropped": 1}));
    // Whole, and nobody lived to say so.
    sql(&app, "UPDATE scope_indexes SET state = 'building', ready_at = NULL").await;
    assert_eq!(tend(&app).await, json!({"kept": 1, "built": 0, "dropped": 0}));
    assert!(ask(&tenant, "ada", "thing3", &json!({})).await.1);
    // Known to the table alone.
    let drop = "DO $$ DECLARE name text; BEGIN
                    SELECT relname INTO name FROM pg_class WHERE relname LIKE 'placements\\_near\\_%';
                    EXECUTE 'DROP INDEX ' || name;
                END $$";
    sql(&app, drop).await;
    let (found, _) = ask(&tenant, "ada", "thing3", &json!({"k": 100})).await;
    assert_eq!(found.len(), 100, "without the index every memory is compared");
    assert_eq!(tend(&app).await, json!({"kept": 0, "built": 1, "dropped": 1}));
    assert_eq!(indexes(&app).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recall_does_not_mind_that_the_index_goes_under_it() {
    let (app, tenant) = stage().await;
    fill(&tenant, "ada", 600).await;
    tend(&app).await;
    let done = Arc::new(AtomicBool::new(false));
    let client = app.client(tenant.id, "all", None).await;
    let asking = tokio::spawn({
        let done = done.clone();
        async move {
            let (mut by_index, mut compared) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let (found, approximate) = ask(&client, "ada", "thing3 colour1 room1", &json!({"k": 60})).await;
                assert_eq!(found.len(), 60);
                *if approximate { &mut by_index } else { &mut compared } += 1;
            }
            (by_index, compared)
        }
    });
    for _ in 0..5 {
        sql(&app, "UPDATE scope_indexes SET dims = 7").await;
        assert_eq!(tend(&app).await, json!({"kept": 0, "built": 1, "dropped": 1}));
    }
    done.store(true, Ordering::Relaxed);
    let (by_index, compared) = asking.await.expect("no recall fails");
    assert!(by_index > 0 && compared > 0, "{by_index} by the index, {compared} without");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_builder_that_is_cut_off_leaves_nothing_that_stays() {
    let (app, tenant) = stage().await;
    fill(&tenant, "ada", 600).await;
    sql(&app, "ANALYZE placements").await;
    // A transaction that is as old as the build keeps it from its end.
    let mut reader = app.database.superuser().await;
    sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM placements")
        .execute(&mut reader)
        .await
        .expect("a snapshot");
    let chore = tokio::spawn({
        let (db, id) = (app.db().clone(), Chore::IndexScopes.id());
        async move { jobs::enqueue(&db, cairn::ids::TenantId::OPERATOR, id, jobs::Cause::Manual).await }
    });
    let run = chore.await.expect("no panic").expect("a run");
    let cut = "SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_activity a
                WHERE a.application_name = 'cairn index' AND a.query LIKE 'CREATE INDEX%'
                  AND EXISTS (SELECT FROM pg_class WHERE relname LIKE 'placements\\_near\\_%')";
    let mut superuser = app.database.superuser().await;
    for attempt in 0.. {
        assert!(attempt < 300, "nobody builds");
        if count(&mut superuser, cut).await > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let run = super::ended(&app, Chore::IndexScopes, run).await;
    assert_eq!(run.state, RunState::Failed, "{run:?}");
    let (found, approximate) = ask(&tenant, "ada", "thing3", &json!({"k": 60})).await;
    assert_eq!((found.len(), approximate), (60, false));
    sqlx::raw_sql("ROLLBACK").execute(&mut reader).await.expect("ends");
    assert_eq!(tend(&app).await, json!({"kept": 0, "built": 1, "dropped": 1}));
    assert_eq!(indexes(&app).await, 1);
}
