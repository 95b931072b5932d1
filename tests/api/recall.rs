//! Recall: what is found, how it is scored, and what is said when something is missing.

use cairn::config::ProviderName;
use serde_json::{Value, json};

use crate::harness::TestApp;

const KITCHEN: [&str; 5] = [
    "The kettle is broken.",
    "The kitchen door is green.",
    "Caroline painted a sunrise over the lake.",
    "The kettle was bought in Leeds by Mel.",
    "Nobody waters the plants on Sunday.",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_mode_finds_the_memory_that_fits() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    for content in KITCHEN {
        tenant.remember("ada", content).await;
    }
    for mode in ["hybrid", "semantic", "lexical"] {
        let found = tenant.recalled("ada", json!({"query": "who paints the sunrise?", "mode": mode})).await;
        assert_eq!(found[0], KITCHEN[2], "{mode}");
        let expected = if mode == "lexical" { 1 } else { KITCHEN.len() };
        assert_eq!(found.len(), expected, "{mode}: fewer than k only if fewer match");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_k_results_as_long_as_there_are_k() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let batch: Vec<Value> = (0..100).map(|n| json!({"content": format!("stone number {n}")})).collect();
    tenant.post("/v1/agents/ada/remember/batch", json!({"memories": batch})).await.expect(200);
    // Long memories have many windows, all nearer to the question than any stone, and count once each.
    for n in 0..3 {
        let long = format!("boulder {n} ") + &"granite and slate and chalk. ".repeat(600);
        tenant.remember("ada", &long).await;
    }
    for k in [1, 10, 99, 100] {
        let found =
            tenant.recalled("ada", json!({"query": "granite and slate and chalk", "k": k, "mode": "semantic"})).await;
        assert_eq!(found.len(), k);
        let distinct: std::collections::HashSet<_> = found.iter().collect();
        assert_eq!(distinct.len(), k);
    }
}

/// The words of a memory have an index that long ones do not fit into.
#[tokio::test(flavor = "multi_thread")]
async fn words_count_alike_in_memories_of_any_length() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let lengths = [1, 599, 600, 601, 2_000];
    for length in lengths {
        let content = format!("kettle{}", " stone".repeat(length - 1));
        tenant.remember("ada", &content).await;
        tenant.remember("bob", &content.replace("kettle", "stone")).await;
    }
    let ask = json!({"query": "kettle", "mode": "lexical", "explain": true});
    let answer = tenant.recall("ada", ask.clone()).await;
    let results = answer["results"].as_array().expect("results");
    // BM25 of a word that every memory has once: the ideal cancels its weight, and length is all that differs.
    let average = lengths.iter().sum::<usize>() as f64 / lengths.len() as f64;
    let scores = lengths.map(|length| 1.0 / (1.0 + 0.9 * (0.6 + 0.4 * length as f64 / average)));
    let seen: Vec<f64> = results.iter().map(|one| one["explain"]["lexical"].as_f64().expect("a score")).collect();
    assert_eq!(seen.len(), lengths.len());
    assert!(seen.iter().zip(scores).all(|(seen, score)| (seen - score).abs() < 1e-9), "{seen:?} is not {scores:?}");
    assert_eq!(tenant.recall("bob", ask).await["results"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_narrow_before_anything_is_ranked() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    for n in 0..40 {
        let memory = json!({
            "content": format!("stone {n}"), "kind": if n % 2 == 0 { "fact" } else { "event" },
            "tags": [format!("t{}", n % 4), "all"], "importance": f64::from(n) / 40.0, "speaker": format!("s{}", n % 5),
            "source": {"type": "conversation", "id": format!("c{}", n % 3)}, "metadata": {"n": n, "name": format!("x{n}")},
            "key": format!("k{n}"), "occurred_at": format!("2026-01-{:02}T00:00:00Z", n % 28 + 1),
        });
        tenant.remember_as("ada", memory).await;
    }
    let count =
        async |filter: Value| tenant.recalled("ada", json!({"query": "stone", "k": 100, "filter": filter})).await.len();
    assert_eq!(count(json!({})).await, 40);
    assert_eq!(count(json!({"kinds": ["event"]})).await, 20);
    assert_eq!(count(json!({"tags_any": ["t0", "t1"]})).await, 20);
    assert_eq!(count(json!({"tags_all": ["t0", "all"]})).await, 10);
    assert_eq!(count(json!({"tags_all": ["t0", "t1"]})).await, 0);
    assert_eq!(count(json!({"agent_ids": ["ada"]})).await, 40);
    assert_eq!(count(json!({"agent_ids": ["bob"]})).await, 0);
    assert_eq!(count(json!({"speakers": ["s1", "s2"]})).await, 16);
    assert_eq!(count(json!({"sources": ["c0"]})).await, 14);
    assert_eq!(count(json!({"key": "k7"})).await, 1);
    assert_eq!(count(json!({"min_importance": 0.5})).await, 20);
    assert_eq!(count(json!({"created": {"after": "2999-01-01T00:00:00Z"}})).await, 0);
    assert_eq!(
        count(json!({"occurred": {"after": "2026-01-10T00:00:00Z", "before": "2026-01-12T00:00:00Z"}})).await,
        4
    );
    assert_eq!(count(json!({"metadata": {"n": 7}})).await, 1);
    assert_eq!(count(json!({"metadata": {"n": 7.0}})).await, 1);
    assert_eq!(count(json!({"metadata": {"n": "7"}})).await, 0);
    assert_eq!(count(json!({"metadata": {"n": {"in": [1, 2, 99]}}})).await, 2);
    assert_eq!(count(json!({"metadata": {"n": {"gte": 10, "lt": 20}}})).await, 10);
    assert_eq!(count(json!({"metadata": {"name": {"gt": 1}}})).await, 0, "a text is not a number");
    assert_eq!(count(json!({"metadata": {"'; DROP TABLE memories; --": 1}})).await, 0);
    assert_eq!(count(json!({"kinds": ["fact"], "tags_any": ["t0"], "speakers": ["s0"]})).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_are_explained_and_add_up() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    for content in KITCHEN {
        tenant.remember("ada", content).await;
    }
    let answer = tenant.recall("ada", json!({"query": "broken kettle", "explain": true})).await;
    let results = answer["results"].as_array().expect("results");
    let mut last = 1.0;
    for result in results {
        let score = result["score"].as_f64().expect("score");
        let part = |name: &str| result["explain"][name].as_f64().unwrap_or(0.0);
        let fused = 0.98 * (0.3 * part("semantic") + 0.7 * part("lexical"));
        let sum = fused + 0.01 * part("recency") + 0.01 * part("importance");
        assert!((score - sum).abs() < 1e-9, "{result}");
        assert!((0.0..=last).contains(&score), "best first: {result}");
        last = score;
    }
    assert_eq!(results[0]["explain"]["rank_lexical"], 1);
    assert_eq!(results[0]["via"], json!({"type": "agent", "id": "ada"}));
    assert_eq!(answer["approximate"], false);
    let plain = tenant.recall("ada", json!({"query": "broken kettle"})).await;
    assert_eq!(plain["results"][0].get("explain"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_left_out_is_left_out_of_that_answer_alone() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let said = |seq: u32, speaker: &str, content: &str| {
        json!({"content": content, "speaker": speaker, "occurred_at": "2023-05-08T10:00:00Z",
            "source": {"type": "chat", "id": "c", "seq": seq}})
    };
    let talk = [said(1, "Noor", "Where is the copper ladle?"), said(2, "Ivo", "Under the sink, I think.")];
    tenant.post("/v1/agents/ada/remember/batch", json!({"memories": talk})).await.expect(200);
    let ask = |explain: Value| json!({"query": "copper ladle", "mode": "lexical", "explain": explain});
    let answer = tenant.recall("ada", ask(json!(true))).await;
    let results = answer["results"].as_array().expect("results");
    assert_eq!(results.len(), 2, "{answer}");
    assert_eq!(results[0]["memory"]["speaker"], "Ivo", "the answer is what follows the question: {answer}");
    let without = tenant.recall("ada", ask(json!({"without": ["neighbours"]}))).await;
    assert_eq!(without["results"].as_array().expect("results").len(), 1, "{without}");
    assert_eq!(tenant.recall("ada", ask(json!({"without": []}))).await["results"], answer["results"]);

    let named = tenant.recall("ada", json!({"query": "What did Noor ask in May?", "explain": true})).await;
    let explain = &named["results"][0]["explain"];
    assert_eq!((&explain["speaker"], &explain["date"]), (&json!(1.0), &json!(1.0)), "{named}");

    let refused = tenant.post("/v1/agents/ada/recall", ask(json!({"without": ["luck"]}))).await;
    assert_eq!(refused.status, 422);
    let said = &refused.text;
    assert!(said.contains("/explain/without/0") && said.contains("neighbours, kinds, thread"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn min_score_and_token_budget_cut_the_list() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    for content in KITCHEN {
        tenant.remember("ada", content).await;
    }
    let all = tenant.recall("ada", json!({"query": "broken kettle"})).await;
    let third = all["results"][2]["score"].as_f64().expect("score");
    assert_eq!(tenant.recalled("ada", json!({"query": "broken kettle", "min_score": third})).await.len(), 3);
    // "The kettle is broken." is 21 bytes: 6 tokens.
    assert_eq!(tenant.recalled("ada", json!({"query": "broken kettle", "token_budget": 6})).await, [KITCHEN[0]]);
    assert!(tenant.recalled("ada", json!({"query": "broken kettle", "token_budget": 5})).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_scopes_asked_for_are_searched() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "Ada's kettle").await;
    tenant.remember("bob", "Bob's kettle").await;
    for within in [json!("all"), json!("private")] {
        assert_eq!(tenant.recalled("ada", json!({"query": "kettle", "within": within})).await, ["Ada's kettle"]);
    }
    let elsewhere = json!({"query": "kettle", "within": {"circles": ["kitchen"]}});
    tenant.post("/v1/agents/ada/recall", elsewhere).await.assert_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn speaker_and_date_help_to_find_a_memory() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    for (speaker, day) in [("Caroline", "2023-05-08"), ("Melanie", "2023-06-09")] {
        let memory = json!({"content": format!("I went there on my own, {speaker} told us"), "speaker": speaker, "occurred_at": format!("{day}T12:00:00Z")});
        tenant.remember_as("ada", memory).await;
    }
    let june = tenant.recall("ada", json!({"query": "what happened in June", "mode": "lexical"})).await;
    assert_eq!(june["results"].as_array().map(Vec::len), Some(1));
    assert_eq!(june["results"][0]["memory"]["speaker"], "Melanie");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_embeddings_remember_refuses_and_recall_falls_back_to_words() {
    let app = TestApp::start_with(|config| config.embeddings.provider = ProviderName::Local).await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is broken.").await;
    tenant.remember("ada", "Sunrise over the lake.").await;
    assert_eq!(tenant.recalled("ada", json!({"query": "something to boil water does not work"})).await.len(), 2);

    // An instance that gives the real model no time at all.
    let hurried = app.sibling_through(app.database.options(), |config| {
        config.embeddings.provider = ProviderName::Local;
        config.embeddings.query_deadline_ms = 0;
        config.embeddings.deadline_secs = 0;
        config.embeddings.batch_deadline_secs = 0;
    });
    let instance = hurried.await;
    let hurried = tenant.client.at(instance.url());
    let refused = hurried.post("/v1/agents/ada/remember", json!({"content": "lost"})).await;
    refused.assert_problem(503, "embedding_unavailable");
    assert_eq!(refused.header("retry-after"), "5");
    let answer = hurried.recall("ada", json!({"query": "kettle"})).await;
    assert_eq!(answer["warnings"][0]["code"], "embedding_unavailable");
    assert_eq!(answer["results"].as_array().map(Vec::len), Some(1), "by words alone");
    let semantic = hurried.post("/v1/agents/ada/recall", json!({"query": "kettle", "mode": "semantic"})).await;
    semantic.assert_problem(503, "embedding_unavailable");
    assert_eq!(tenant.get("/v1/agents/ada/stats").await.expect(200)["memories"], 2, "nothing was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_of_another_model_is_not_served_wrong_vectors() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is broken.").await;
    let other = app.sibling_through(app.database.options(), |config| config.embeddings.dimensions = Some(512)).await;
    let other = tenant.client.at(other.url());
    other
        .post("/v1/agents/ada/remember", json!({"content": "x"}))
        .await
        .assert_problem(503, "embedding_model_mismatch");
    other.post("/v1/agents/ada/recall", json!({"query": "x"})).await.assert_problem(503, "embedding_model_mismatch");
    other.get("/v1/agents/ada/memories").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_of_every_usual_size_are_recalled() {
    for dims in [384, 1536, 3072] {
        let app = TestApp::start_with(|config| config.embeddings.dimensions = Some(dims)).await;
        let tenant = app.new_tenant().await;
        for content in KITCHEN {
            tenant.remember("ada", content).await;
        }
        let found = tenant.recalled("ada", json!({"query": "green kitchen door", "mode": "semantic"})).await;
        assert_eq!((found[0].as_str(), found.len()), (KITCHEN[1], 5), "{dims} dimensions");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_instance_remembers_the_other_recalls() {
    let app = TestApp::start().await;
    let sibling = app.sibling().await;
    let tenant = app.new_tenant().await;
    let there = tenant.client.at(sibling.url());
    for n in 0..20 {
        let content = format!("token{n}");
        tenant.remember("ada", &content).await;
        assert_eq!(there.recalled("ada", json!({"query": content, "mode": "lexical"})).await, [content]);
    }
}
