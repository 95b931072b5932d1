//! The vector of a text is computed once, found again by text and by hash, and never mixed with another model's.

use cairn::embeddings::Task;
use serde_json::json;

use super::{Pair, ask, kettle, owner};
use crate::harness::TestApp;
use crate::harness::provider::{Act, Provider, inputs};

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_asks_the_provider_for_what_is_missing_once_and_in_order() {
    let provider = Provider::start().await;
    let pair = Pair::start_with(|config| provider.configure(config, 64)).await;
    let owner = pair.owner().await;
    let texts = |numbers: &[usize]| numbers.iter().map(|number| format!("stone{number}")).collect::<Vec<_>>();
    let here = &pair.here.app.embedder;
    let first = here.embed_texts(&owner, texts(&[1, 2, 3])).await.expect("vectors");
    let second = here.embed_texts(&owner, texts(&[4, 1, 5, 3, 4])).await.expect("vectors");
    let asked: Vec<Vec<String>> =
        provider.calls("stone").iter().map(|call| inputs(call).map(str::to_owned).collect()).collect();
    assert_eq!(asked, [texts(&[1, 2, 3]), texts(&[4, 5])]);
    assert_eq!((&second[1], &second[3], &second[4]), (&first[0], &first[2], &second[0]));

    // Another instance finds them in Redis.
    pair.wait_for_keys("emb:", 5).await;
    let there = pair.there.app.embedder.embed_texts(&owner, texts(&[5, 4, 3, 2, 1])).await.expect("vectors");
    assert_eq!(there, [&second[2], &second[0], &first[2], &first[1], &first[0]].map(Clone::clone));
    assert_eq!(provider.calls("stone").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_from_the_cache_is_what_was_computed_bit_for_bit() {
    let pair = Pair::start().await;
    let owner = pair.owner().await;
    let long = "the kettle is in the kitchen, behind the second stone of the wall ".repeat(30);
    for text in ["kettle", &long] {
        let computed = pair.here.app.embedder.embed_query(&owner, text).await.expect("a vector");
        let again = pair.here.app.embedder.embed_query(&owner, text).await.expect("a vector");
        assert_eq!(computed, again);
        let uncached = cairn::cache::Owner { secret: None, ..owner };
        assert_eq!(computed, pair.there.app.embedder.embed_query(&uncached, text).await.expect("a vector"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_found_and_forgotten_by_its_words_and_by_its_hash() {
    let pair = Pair::start().await;
    let (owner, embedder) = (pair.owner().await, &pair.here.app.embedder);
    assert_eq!(embedder.cached(&owner, Task::Query, "kettle").await, None);
    let vector = embedder.embed_query(&owner, "kettle").await.expect("a vector");
    let hash = embedder.hash(&owner, Task::Query, "kettle").await.expect("a hash");
    let found = Some(vec![vector]);
    assert_eq!(embedder.cached(&owner, Task::Query, "kettle").await, found);
    assert_eq!(embedder.cached_by_hash(&owner, hash).await, found);
    assert_eq!(embedder.cached(&owner, Task::Document, "kettle").await, None, "another task is another key");
    assert_eq!(
        pair.wait_for_keys("emb:", 1).await[0].rsplit_once(':').map(|(_, last)| last.to_owned()),
        Some(hash.to_string())
    );
    assert_eq!(hash.to_string().parse(), Ok(hash));

    embedder.invalidate(&owner, Task::Query, "kettle").await;
    pair.wait_for_keys("emb:", 0).await;
    assert_eq!(embedder.cached_by_hash(&owner, hash).await, None);
    embedder.embed_query(&owner, "kettle").await.expect("a vector");
    pair.wait_for_keys("emb:", 1).await;
    embedder.invalidate_hash(&owner, hash).await;
    assert_eq!(embedder.cached(&owner, Task::Query, "kettle").await, None);
    assert_eq!(pair.keys("emb:").await, Vec::<String>::new());

    // By tenant, and so by model, for a tenant has one: the secret that names them is replaced.
    embedder.embed_query(&owner, "kettle").await.expect("a vector");
    pair.tenant.post("/v1/cache/flush", json!({"kinds": ["embedding"]})).await.expect(200);
    let renewed = pair.owner().await;
    assert_ne!(renewed, owner);
    assert_eq!(embedder.cached(&renewed, Task::Query, "kettle").await, None);
    assert_eq!(pair.there.app.embedder.cached(&renewed, Task::Query, "kettle").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_finds_nothing_of_the_one_before() {
    let pair = Pair::start().await;
    let owner = pair.owner().await;
    let small = pair.here.app.embedder.embed_query(&owner, "kettle").await.expect("a vector");
    pair.wait_for_keys("emb:", 1).await;
    let larger = pair.here.sibling_through(pair.here.database.options(), |config| {
        config.cache.redis_url = Some(pair.redis.url());
        config.embeddings.dimensions = Some(512);
    });
    let larger = larger.await;
    assert_eq!(larger.app.embedder.cached(&owner, Task::Query, "kettle").await, None);
    let large = larger.app.embedder.embed_query(&owner, "kettle").await.expect("a vector");
    assert_eq!((small.len(), large.len()), (384, 512));
    pair.wait_for_keys("emb:", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_share_no_vector() {
    let provider = Provider::start().await;
    let app = TestApp::start_with(|config| provider.configure(config, 64)).await;
    for tenant in [app.new_tenant().await, app.new_tenant().await] {
        let owner = owner(&app, &tenant).await;
        app.app.embedder.embed_query(&owner, "kettle").await.expect("a vector");
        app.app.embedder.embed_query(&owner, "kettle").await.expect("a vector");
    }
    assert_eq!(provider.calls("kettle").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_shared_by_those_who_wait_and_is_not_kept() {
    let provider = Provider::start().await;
    let app = TestApp::start_with(|config| provider.configure(config, 64)).await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is in the kitchen.").await;
    provider.on("where", &[Act::status(400)]);
    let mut question = kettle();
    question["mode"] = "semantic".into();
    tenant.post("/v1/agents/ada/recall", question.clone()).await.assert_problem(503, "embedding_unavailable");
    provider.on("where", &[Act::Answer]);
    assert_eq!(ask(&tenant, "ada", question).await.json()["results"].as_array().map(Vec::len), Some(1));
}
