//! That what is in memory is never older than what was acknowledged.

use serde_json::json;

use super::{assert_alike, at, computed, path, scored, without_index};
use crate::circles::{circle_of, path_of};
use crate::harness::TestApp;
use crate::support::process::wait;

async fn sql(app: &TestApp, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&mut app.database.superuser().await).await.expect(sql);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_instance_was_told_is_in_the_next_answer() {
    let app = TestApp::start().await;
    let other = app.sibling().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "editor"), ("bob", "reader")]).await;
    let there = at(&tenant, &other);
    for round in 0..20 {
        let memory = json!({"content": format!("kettle {round}"), "circles": ["c"]});
        let memory = tenant.remember_as("ada", memory).await;
        let answer = computed(&there, "bob", json!({"query": "kettle", "k": 100})).await;
        assert_eq!((path(&answer), scored(&answer).len()), ("hot_index", round / 2 + 1));
        if round % 2 == 0 {
            tenant.client.acting_as("ada").delete(&path_of(&memory)).await.expect(204);
            let answer = computed(&there, "bob", json!({"query": "kettle", "k": 100})).await;
            assert_eq!((path(&answer), scored(&answer).len()), ("hot_index", round / 2));
        }
    }
}

/// A worn index, one whose notes are gone, and one of a server that was restored are read anew.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_cannot_go_on_begins_anew() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let first = tenant.remember("ada", "The kettle is broken.").await;
    let kettle = json!({"query": "kettle", "k": 100});
    assert_eq!(scored(&computed(&tenant, "ada", kettle.clone()).await).len(), 1);
    // The note of this removal is gone before the index reads it.
    tenant.client.delete(&path_of(&first)).await.expect(204);
    sql(&app, "DELETE FROM scope_removals; UPDATE scope_epochs SET floor_n = n").await;
    tenant.remember("ada", "Another kettle.").await;
    let answer = computed(&tenant, "ada", kettle.clone()).await;
    assert_eq!((path(&answer), scored(&answer).len()), ("hot_index", 1), "{answer}");
    // A restored database: fewer commits, other tags, other contents.
    sql(
        &app,
        "DELETE FROM placements; DELETE FROM placement_terms; UPDATE scope_epochs SET n = 1, tag = gen_random_uuid()",
    )
    .await;
    assert_eq!(scored(&computed(&tenant, "ada", kettle).await).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_is_too_large_for_memory_is_left_to_postgres() {
    let app = TestApp::start_with(|config| config.recall.hot_scope_memories = 5).await;
    let without = without_index(&app).await;
    let tenant = app.new_tenant().await;
    for n in 0..8 {
        tenant.remember("ada", &format!("kettle number {n}")).await;
        let answer = computed(&tenant, "ada", json!({"query": "kettle"})).await;
        assert_eq!(path(&answer), if n < 5 { "hot_index" } else { "exact_scan" }, "{n}");
        assert_eq!(scored(&answer), scored(&computed(&at(&tenant, &without), "ada", json!({"query": "kettle"})).await));
    }
    let metrics = app.stranger().get("/metrics").await.text;
    let line = |name: &str| metrics.lines().find(|line| line.starts_with(name)).expect(name).to_owned();
    assert!(line(r#"cairn_recall_paths_total{path="exact_scan"}"#).ends_with(" 3"), "{metrics}");
    assert!(line(r#"cairn_hot_index_reads_total{outcome="refused"}"#).ends_with(" 1"), "{metrics}");
}

/// Many changes are read aside, whether all is new or memory is far behind.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_while_much_is_read_is_answered_by_postgres() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let asked = |round| json!({"query": format!("lantern{round}"), "k": 1});
    for round in 1..=2 {
        for batch in 0..11 {
            let text =
                |n| if batch + n == 10 { format!("lantern{round}") } else { format!("kettle {round} {batch} {n}") };
            let memories = json!({"memories": (0..100).map(|n| json!({"content": text(n)})).collect::<Vec<_>>()});
            tenant.post("/v1/agents/ada/remember/batch", memories).await.expect(200);
        }
        let first = computed(&tenant, "ada", asked(round)).await;
        assert_eq!((path(&first), scored(&first).len()), ("exact_scan", 1), "{round}");
        let in_memory = async || {
            let answer = computed(&tenant, "ada", asked(round)).await;
            assert_alike(&answer, &first, "the lantern");
            path(&answer) == "hot_index"
        };
        wait("the scope is in memory", in_memory).await;
    }
    // What changes in passing is read in passing.
    tenant.remember("ada", "lantern3").await;
    let answer = computed(&tenant, "ada", asked(3)).await;
    assert_eq!((path(&answer), scored(&answer).len()), ("hot_index", 1));
}

/// Scopes take turns in memory that has not room for all; what they take is told.
#[tokio::test(flavor = "multi_thread")]
async fn memory_holds_what_it_was_given_and_the_scope_asked_for_longest_ago_goes_first() {
    let app = TestApp::start_with(|config| config.recall.hot_index_mb = 1).await;
    let tenant = app.new_tenant().await;
    for agent in ["ada", "bob", "eve"] {
        for batch in 0..3 {
            let memories = (0..100).map(|n| json!({"content": format!("kettle number {batch} {n}")}));
            let memories = json!({"memories": memories.collect::<Vec<_>>()});
            tenant.post(&format!("/v1/agents/{agent}/remember/batch"), memories).await.expect(200);
        }
    }
    for agent in ["ada", "bob", "eve", "eve", "bob", "ada"] {
        let answer = computed(&tenant, agent, json!({"query": "kettle", "k": 100})).await;
        assert_eq!((path(&answer), scored(&answer).len()), ("hot_index", 100), "{agent}");
    }
    let metrics = app.stranger().get("/metrics").await.text;
    let figure = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name)).expect(name);
        line.rsplit(' ').next().expect("a figure").parse::<u64>().expect("a number")
    };
    let (bytes, evicted) = (figure("cairn_hot_index_bytes "), figure("cairn_hot_index_evictions_total "));
    assert!((100_000..=1024 * 1024).contains(&bytes) && evicted >= 1, "{bytes} bytes, {evicted} evicted");
    assert!(figure(r#"cairn_hot_index_reads_total{outcome="loaded"}"#) >= 4);
}

/// While writers write, an answer has all that was acknowledged before it was asked for, and nothing twice.
#[tokio::test(flavor = "multi_thread")]
async fn answers_keep_up_with_writers() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "kettle 0").await;
    let writing = async {
        for n in 1..60 {
            tenant.remember("ada", &format!("kettle {n}")).await;
        }
    };
    let reading = async {
        let mut before = 0;
        for _ in 0..60 {
            let found = scored(&computed(&tenant, "ada", json!({"query": "kettle", "k": 100})).await);
            let distinct: std::collections::BTreeSet<_> = found.iter().map(|(id, _)| id).collect();
            assert!(distinct.len() == found.len() && found.len() >= before, "{before} and then {}", found.len());
            before = found.len();
        }
    };
    tokio::join!(writing, reading, async {
        for n in 0..60 {
            let memory = tenant.remember("ada", &format!("lamp {n}")).await;
            let found = scored(&computed(&tenant, "ada", json!({"query": format!("lamp {n}"), "k": 100})).await);
            assert!(found.iter().any(|(id, _)| *id == memory["id"].as_str().expect("an id")), "lamp {n}");
        }
    });
}
