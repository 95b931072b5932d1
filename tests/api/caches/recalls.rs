//! Recalls come from the cache when they may, and say so.

use std::time::Duration;

use deadpool_redis::redis::cmd;
use serde_json::{Value, json};

use super::{Pair, ask, circle, kettle, share, source};
use crate::harness::provider::{Act, Provider};
use crate::harness::{Answer, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_before_comes_from_the_nearest_cache_byte_for_byte() {
    let pair = Pair::start().await;
    pair.tenant.remember("ada", "The kettle is in the kitchen.").await;
    let first = ask(&pair.tenant, "ada", kettle()).await;
    assert_eq!(source(&first), "miss");
    pair.wait_for_keys("rag:agent:ada:", 1).await;
    let other = pair.other();
    for (client, expected) in [
        (&pair.tenant.client, "hit local"),
        (&other, "hit redis"),
        (&other, "hit local"),
        (&pair.tenant.client, "hit local"),
    ] {
        let again = ask(client, "ada", kettle()).await;
        assert_eq!((source(&again).as_str(), &again.text), (expected, &first.text));
        assert_eq!(again.header("content-type"), first.header("content-type"));
        let stages = again.header("server-timing");
        assert!(["gate", "cache", "embed", "search", "total"].iter().all(|stage| stages.contains(stage)), "{stages}");
    }
    // An empty answer is an answer.
    pair.tenant.put("/v1/agents/bob", json!({})).await.expect(201);
    assert_eq!(source(&ask(&pair.tenant, "bob", kettle()).await), "miss");
    assert_eq!(source(&ask(&pair.tenant, "bob", kettle()).await), "hit local");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_mean_the_same_share_an_answer_and_others_do_not() {
    let pair = Pair::start().await;
    let memory = json!({"content": "The kettle is in the kitchen.", "tags": ["a", "b"], "metadata": {"room": 1}});
    pair.tenant.remember_as("ada", memory).await;
    let raw = async |body: &str| -> Answer {
        let request = pair.tenant.request(reqwest::Method::POST, "/v1/agents/ada/recall");
        pair.tenant.send(request.header("content-type", "application/json").body(body.to_owned())).await
    };
    let same = [
        r#"{"query":"kettle","filter":{"tags_any":["a","b"],"kinds":["fact"],"metadata":{"room":{"in":[1,2]}}}}"#,
        r#"{"filter":{"kinds":["fact"],"metadata":{"room":{"in":[2,1]}},"tags_any":["b","a"]},"query":"kettle"}"#,
        r#"{ "k": 10, "query": "kettle", "explain": false, "within": "all", "mode": "hybrid", "min_score": null,
             "filter": {"tags_any": ["b", "a", "a"], "kinds": ["fact"], "metadata": {"room": {"in": [1, 2]}}}}"#,
    ];
    let mut first = None;
    for (index, body) in same.iter().enumerate() {
        let answer = raw(body).await;
        assert_eq!(source(&answer), if index == 0 { "miss" } else { "hit local" }, "{body}");
        assert_eq!(first.get_or_insert_with(|| answer.text.clone()), &answer.text);
    }
    for body in [
        r#"{"query":"kettle"}"#,
        r#"{"query":"Kettle"}"#,
        r#"{"query":"kettle","k":9}"#,
        r#"{"query":"kettle","mode":"lexical"}"#,
        r#"{"query":"kettle","within":"private"}"#,
        r#"{"query":"kettle","explain":true}"#,
        r#"{"query":"kettle","min_score":0.1}"#,
        r#"{"query":"kettle","token_budget":99}"#,
        r#"{"query":"kettle","filter":{"tags_all":["a","b"]}}"#,
        r#"{"query":"kettle","filter":{"tags_any":["a"]}}"#,
    ] {
        assert_eq!(source(&raw(body).await), "miss", "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bypass_neither_reads_nor_stores_and_refresh_stores_anew() {
    let pair = Pair::start().await;
    pair.tenant.remember("ada", "The kettle is in the kitchen.").await;
    let with = |cache: &str| json!({"query": "where is the kettle", "k": 20, "cache": cache});
    assert_eq!(source(&ask(&pair.tenant, "ada", with("bypass")).await), "bypass");
    assert_eq!(source(&ask(&pair.tenant, "ada", with("use")).await), "miss", "bypass stored nothing");
    assert_eq!(source(&ask(&pair.tenant, "ada", with("bypass")).await), "bypass");
    let before = age(&ask(&pair.tenant, "ada", kettle()).await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(age(&ask(&pair.tenant, "ada", kettle()).await) >= before + 250);
    assert_eq!(source(&ask(&pair.tenant, "ada", with("refresh")).await), "miss");
    assert!(age(&ask(&pair.tenant, "ada", kettle()).await) < before + 250, "the refreshed one is younger");
}

fn age(answer: &Answer) -> u64 {
    let header = answer.header("cairn-cache");
    header.rsplit_once("age=").and_then(|(_, age)| age.parse().ok()).unwrap_or_else(|| panic!("no hit: {header}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_who_ask_the_same_at_once_cause_one_search_and_one_embedding() {
    let provider = Provider::start().await;
    let app = TestApp::start_with(|config| {
        provider.configure(config, 64);
        // All thousand pass the gate, however busy the machine is.
        config.database.acquire_timeout_ms = 60_000;
        config.embeddings.query_deadline_ms = 30_000;
    });
    let app = app.await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is in the kitchen.").await;
    provider.on("where", &[Act::Delay(Duration::from_millis(1_500))]);
    let asked: Vec<_> = (0..1_000)
        .map(|_| {
            let client = tenant.client.clone();
            tokio::spawn(async move { ask(&client, "ada", kettle()).await.text })
        })
        .collect();
    let mut answers = std::collections::HashSet::new();
    for answer in asked {
        answers.insert(answer.await.expect("an answer"));
    }
    assert_eq!(answers.len(), 1);
    assert_eq!(provider.calls("where").len(), 1);
    let stats = tenant.get("/v1/cache/stats").await.expect(200);
    let recall = &stats["kinds"][1];
    let (hits, shared) = (recall["layers"][0]["hits"].as_u64(), recall["saved"]["shared_computations"].as_u64());
    assert_eq!(hits.zip(shared).map(|(hits, shared)| hits + shared), Some(999), "one searched: {recall}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hangs_up_does_not_take_its_followers_along() {
    let provider = Provider::start().await;
    let app = TestApp::start_with(|config| provider.configure(config, 64)).await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is in the kitchen.").await;
    provider.on("where", &[Act::Delay(Duration::from_millis(800)), Act::Answer]);
    let leader = tokio::spawn({
        let client = tenant.client.clone();
        async move { ask(&client, "ada", kettle()).await }
    });
    while provider.calls("where").is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let follower = tokio::spawn({
        let client = tenant.client.clone();
        async move { ask(&client, "ada", kettle()).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    leader.abort();
    let answer = follower.await.expect("an answer").json();
    assert_eq!(answer["results"].as_array().map(Vec::len), Some(1), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_holds_nothing_that_can_be_read_and_for_no_longer_than_told() {
    let pair = Pair::start_with(|config| config.cache.recall_ttl_secs = 100).await;
    for number in 0..20 {
        pair.tenant.remember("ada", &format!("The kettle number {number} is in the kitchen.")).await;
    }
    ask(&pair.tenant, "ada", kettle()).await;
    let recalls = pair.wait_for_keys("rag:agent:ada:", 1).await;
    let embeddings = pair.wait_for_keys("emb:", 21).await;
    for (keys, least, most) in [(&recalls, 89_000, 110_000), (&embeddings, 77_000_000, 95_040_000)] {
        let mut lives = Vec::new();
        for key in keys {
            let ttl: i64 = pair.redis.ask(cmd("PTTL").arg(key)).await.expect("a time");
            assert!((least..=most).contains(&ttl), "{key} lives {ttl} ms");
            lives.push(ttl);
        }
        lives.sort_unstable();
        assert!(
            lives.len() == 1 || lives[20] - lives[0] > (most - least) / 4,
            "what was stored at once ends apart: {lives:?}"
        );
    }
    for key in embeddings.iter().chain(&recalls) {
        let value: Vec<u8> = pair.redis.ask(cmd("GET").arg(key)).await.expect("a value");
        assert!(!String::from_utf8_lossy(&value).to_lowercase().contains("kettle"), "{key}");
        assert!(!key.contains("kettle") && !key.contains(['{', '}']), "{key}");
        assert!(!key.contains(":emb:") || value.len() <= 850, "{} bytes", value.len());
    }
    // Twenty memories as JSON are compressed.
    let recall: Vec<u8> = pair.redis.ask(cmd("GET").arg(&recalls[0])).await.expect("a value");
    let plain = ask(&pair.tenant, "ada", kettle()).await.text.len();
    assert!(recall.len() * 2 < plain, "{} of {plain} bytes", recall.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_somebody_writes_into_redis_is_never_an_answer() {
    let pair = Pair::start().await;
    pair.tenant.remember("ada", "The kettle is in the kitchen.").await;
    pair.tenant.remember("bob", "Bob's kettle is in the shed.").await;
    let ada = ask(&pair.tenant, "ada", kettle()).await.text;
    ask(&pair.tenant, "bob", kettle()).await;
    let key = pair.wait_for_keys("rag:agent:ada:", 1).await.remove(0);
    let foreign = pair.wait_for_keys("rag:agent:bob:", 1).await.remove(0);
    let foreign: Vec<u8> = pair.redis.ask(cmd("GET").arg(foreign)).await.expect("a value");
    let own: Vec<u8> = pair.redis.ask(cmd("GET").arg(&key)).await.expect("a value");
    let mut flipped = own.clone();
    flipped[60] ^= 1;
    for forged in [b"{\"results\":[]}".to_vec(), foreign, flipped, own[..40].to_vec(), Vec::new()] {
        let () = pair.redis.ask(cmd("SET").arg(&key).arg(forged)).await.expect("set");
        let app = pair.here.sibling_through(pair.here.database.options(), |config| {
            config.cache.redis_url = Some(pair.redis.url());
            config.cache.redis_deadline_ms = 1_000;
        });
        let answer = ask(&pair.tenant.at(app.await.url()), "ada", kettle()).await;
        assert_eq!((source(&answer).as_str(), &answer.text), ("miss", &ada));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_can_be_turned_off_whole_or_by_kind() {
    let pair = Pair::start_with(|config| config.cache.enabled = false).await;
    pair.tenant.remember("ada", "The kettle is in the kitchen.").await;
    for _ in 0..2 {
        assert_eq!(source(&ask(&pair.tenant, "ada", kettle()).await), "bypass");
    }
    let clients: String = pair.redis.ask(cmd("CLIENT").arg("LIST")).await.expect("clients");
    assert_eq!(clients.lines().count(), 1, "nobody but this test is connected: {clients}");

    let pair = Pair::start_with(|config| config.cache.recall = false).await;
    pair.tenant.remember("ada", "The kettle is in the kitchen.").await;
    for _ in 0..2 {
        assert_eq!(source(&ask(&pair.tenant, "ada", kettle()).await), "bypass");
    }
    pair.wait_for_keys("emb:", 2).await;
    assert_eq!(pair.keys("rag:").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn circles_are_part_of_the_question_and_of_the_stamp() {
    let pair = Pair::start().await;
    pair.tenant.remember("ada", "Ada's kettle is in the kitchen.").await;
    pair.tenant.remember("bob", "Bob's kettle is in the shed.").await;
    circle(&pair.here, &pair.tenant, "garden", &["ada", "bob"]).await;
    circle(&pair.here, &pair.tenant, "house", &["ada"]).await;
    let within = |circles: Value| json!({"query": "kettle", "within": {"circles": circles}});
    assert_eq!(source(&ask(&pair.tenant, "ada", within(json!(["garden", "house"]))).await), "miss");
    assert_eq!(source(&ask(&pair.tenant, "ada", within(json!(["house", "garden"]))).await), "hit local");
    let before = ask(&pair.tenant, "ada", kettle()).await.json();
    assert_eq!(before["results"].as_array().map(Vec::len), Some(1));

    share(&pair.here, &pair.tenant, "bob", "garden").await;
    let after = ask(&pair.other(), "ada", kettle()).await;
    assert_eq!((source(&after).as_str(), after.json()["results"].as_array().map(Vec::len)), ("miss", Some(2)));
    assert_eq!(source(&ask(&pair.other(), "ada", kettle()).await), "hit local");

    // Out of the circle: nothing was bumped, and the membership itself decides.
    let mut database = pair.here.database.superuser().await;
    sqlx::raw_sql("DELETE FROM circle_members WHERE circle_id = 'garden' AND agent_uid IN (SELECT agent_uid FROM agents WHERE agent_id = 'ada')")
        .execute(&mut database)
        .await
        .expect("removed");
    let removed = ask(&pair.other(), "ada", kettle()).await.json();
    assert_eq!(removed["results"].as_array().map(Vec::len), Some(1), "{removed}");
}
