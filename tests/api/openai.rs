//! An embedding provider that is called: what it does well reaches recall, what it does badly reaches nobody.

use std::time::{Duration, Instant};

use cairn::cache::Owner;
use cairn::ids::TenantId;
use cairn::rates::Budget;
use serde_json::{Value, json};

use crate::harness::provider::{Act, Items, Provider, inputs};
use crate::harness::{Answer, Client, TestApp};

const KITCHEN: [&str; 4] = [
    "The kettle in the kitchen is broken.",
    "The kitchen door is painted green.",
    "Mel drinks tea without milk.",
    "Sunrise over the lake.",
];

async fn start(provider: &Provider) -> TestApp {
    TestApp::start_with(|config| provider.configure(config, 384)).await
}

/// With so little patience that a test need not have more.
async fn hurried(provider: &Provider) -> TestApp {
    TestApp::start_with(|config| {
        provider.configure(config, 384);
        config.embeddings.deadline_secs = 4;
        config.embeddings.batch_deadline_secs = 4;
    })
    .await
}

async fn remember(client: &Client, content: &str) -> Answer {
    client.post("/v1/agents/ada/remember", json!({ "content": content })).await
}

async fn remember_two(client: &Client, word: &str) -> Answer {
    let memories = ["one", "other"].map(|which| json!({"content": format!("{word}: the {which}")}));
    client.post("/v1/agents/ada/remember/batch", json!({ "memories": memories })).await
}

async fn stored(client: &Client) -> Value {
    let answer = client.get("/v1/agents/ada/stats").await;
    if answer.status == 404 { json!(0) } else { answer.expect(200)["memories"].clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_of_every_usual_size_come_from_an_endpoint() {
    for dims in [384, 1536, 3072] {
        let provider = Provider::start().await;
        let app = TestApp::start_with(|config| provider.configure(config, dims)).await;
        let tenant = app.new_tenant().await;
        let memories = KITCHEN.map(|content| json!({ "content": content }));
        tenant.post("/v1/agents/ada/remember/batch", json!({ "memories": memories })).await.expect(200);
        for (query, best) in [("green kitchen door", 1), ("Mel's tea", 2), ("a sunrise", 3)] {
            let found = tenant.recalled("ada", json!({"query": query, "mode": "semantic"})).await;
            assert_eq!((found[0].as_str(), found.len()), (KITCHEN[best], 4), "{dims} dimensions");
        }
        assert_eq!(provider.calls("").len(), 4, "a batch is one call, a question another");
        assert_eq!(app.app.embedder.pin(), format!("stones-1@openai/{dims}/text1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_another_order_is_put_in_order() {
    let provider = Provider::start().await;
    let app = start(&provider).await;
    let tenant = app.new_tenant().await;
    provider.on("kettle", &[Act::Alter(|items| items.reverse())]);
    let memories = KITCHEN.map(|content| json!({ "content": content }));
    tenant.post("/v1/agents/ada/remember/batch", json!({ "memories": memories })).await.expect(200);
    for (query, best) in [("green kitchen door", 1), ("sunrise", 3)] {
        assert_eq!(tenant.recalled("ada", json!({"query": query, "mode": "semantic"})).await[0], KITCHEN[best]);
    }
}

fn put(number: &'static str) -> impl Fn(&mut Items) {
    move |items| items[1].1[5] = number.into()
}

/// A name, what the provider does, and what the caller is told.
fn faults(elsewhere: &Provider) -> Vec<(&'static str, Act, u16)> {
    let say = |status, body: &str| Act::Say(status, String::new(), body.into());
    let location = format!("Location: http://{}/v1/embeddings\r\n", elsewhere.address);
    let too_long = r#"{"error": {"message": "This model's maximum context length is 8192 tokens, however you requested 9001 tokens.", "type": "invalid_request_error", "param": null, "code": null}}"#;
    vec![
        ("busy", Act::Say(429, "Retry-After: 3600\r\n".into(), String::new()), 503),
        ("broken", Act::status(500), 503),
        ("overloaded", Act::status(503), 503),
        ("hang", Act::Hang, 503),
        ("drip", Act::Drip, 503),
        ("endless", Act::Endless, 503),
        ("reset", Act::Reset, 503),
        ("redirect", Act::Say(307, location.clone(), String::new()), 503),
        ("moved", Act::Say(302, location, String::new()), 503),
        ("forbidden", say(401, r#"{"error": {"message": "Incorrect API key provided"}}"#), 503),
        ("refused", say(400, r#"{"error": {"message": "no such model"}}"#), 503),
        ("lengthy", say(400, too_long), 413),
        ("bulky", say(413, ""), 413),
        ("page", say(200, "<html>Bad gateway</html>"), 503),
        ("error", say(200, r#"{"error": {"message": "out of memory"}}"#), 503),
        ("empty", say(200, ""), 503),
        ("short", Act::Alter(|items| drop(items.pop())), 503),
        ("long", Act::Alter(|items| items.push((2, items[0].1.clone()))), 503),
        ("double", Act::Alter(|items| items[1].0 = 0), 503),
        ("gap", Act::Alter(|items| items[1].0 = 2), 503),
        ("narrow", Act::Alter(|items| drop(items[1].1.pop())), 503),
        ("wide", Act::Alter(|items| items[1].1.push("1".into())), 503),
        ("nan", Act::Alter(|items| put("NaN")(items)), 503),
        ("huge", Act::Alter(|items| put("1e400")(items)), 503),
        ("large", Act::Alter(|items| put("1e39")(items)), 503),
        ("null", Act::Alter(|items| put("null")(items)), 503),
        ("zero", Act::Alter(|items| items[1].1.fill("0.0".into())), 503),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_a_coded_answer_in_time_and_nothing_is_stored() {
    let (provider, elsewhere) = (Provider::start().await, Provider::start().await);
    let app = hurried(&provider).await;
    let mut cases = Vec::new();
    for (name, act, status) in faults(&elsewhere) {
        provider.on(name, &[act]);
        cases.push((name, status, app.new_tenant().await));
    }
    let cases = cases.iter().map(async |(name, status, tenant)| {
        let started = Instant::now();
        let answer = remember_two(tenant, name).await;
        let code = if *status == 413 { "content_too_large" } else { "embedding_unavailable" };
        answer.assert_problem(*status, code);
        assert_eq!(answer.header("retry-after").is_empty(), *status == 413, "{name}");
        assert!(started.elapsed() < Duration::from_secs(8), "{name} took {:?}", started.elapsed());
        assert_eq!(stored(tenant).await, 0, "{name}");
        remember(tenant, "Sunrise over the lake.").await.expect(201);
    });
    futures_util::future::join_all(cases).await;
    assert_eq!(elsewhere.connections(), 0, "a redirect was followed");
    // What the sockets of both sides hold is beyond anyone's control.
    assert!(provider.sent_bytes() < 64 << 20, "{} bytes of an endless answer were taken", provider.sent_bytes());
    assert_eq!(provider.calls("hang").len() + provider.calls("forbidden").len(), 2, "no use in trying again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_is_tried_again_and_not_before_the_provider_says_so() {
    let provider = Provider::start().await;
    let app = start(&provider).await;
    let tenant = app.new_tenant().await;
    provider.on("twice", &[Act::status(500), Act::status(408), Act::Answer]);
    provider.on("later", &[Act::Say(429, "Retry-After: 1\r\n".into(), String::new()), Act::Answer]);
    remember(&tenant, "twice unlucky").await.expect(201);
    assert_eq!(provider.calls("twice").len(), 3);
    let started = Instant::now();
    remember(&tenant, "later, please").await.expect(201);
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(provider.calls("later").len(), 2);

    provider.on("never", &[Act::Say(429, "Retry-After: 3600\r\n".into(), String::new())]);
    let started = Instant::now();
    remember(&tenant, "never mind").await.assert_problem(503, "embedding_unavailable");
    assert!(started.elapsed() < Duration::from_secs(30), "no use in waiting for what comes too late");
    assert_eq!(provider.calls("never").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_an_outage_calls_are_few_and_service_returns_with_the_provider() {
    let provider = Provider::start().await;
    let app = start(&provider).await;
    let tenant = app.new_tenant().await;
    remember(&tenant, "The kettle is broken.").await.expect(201);
    provider.on("", &[Act::status(500)]);
    let requests = 200;
    for n in 0..requests {
        let refused = remember(&tenant, &format!("lost {n}")).await;
        refused.assert_problem(503, "embedding_unavailable");
        assert_eq!(refused.header("retry-after"), "5");
    }
    let calls = provider.calls("lost").len();
    assert!(calls <= 20, "{calls} calls for {requests} requests: the breaker keeps them back");
    let answer = tenant.recall("ada", json!({"query": "kettle"})).await;
    assert_eq!(answer["warnings"][0]["code"], "embedding_unavailable");
    assert_eq!(answer["results"].as_array().map(Vec::len), Some(1), "by words alone");
    let semantic = tenant.post("/v1/agents/ada/recall", json!({"query": "kettle", "mode": "semantic"})).await;
    semantic.assert_problem(503, "embedding_unavailable");
    // On a slow machine the pause may be over before the question is asked; the next failure begins another.
    let told = async || {
        remember(&tenant, "lost again").await.assert_problem(503, "embedding_unavailable");
        let readiness = app.stranger().get("/readyz").await.expect(200);
        assert_eq!(readiness["ready"], true, "{readiness}");
        let metrics = app.stranger().get("/metrics").await.text;
        assert!(
            metrics.contains("cairn_embedding_calls_total{outcome=\"answered\",provider=\"openai\"} 1"),
            "{metrics}"
        );
        readiness["provider"]["ok"] == false && metrics.contains("cairn_embedding_breakers_open 1")
    };
    let mut asked = 0;
    while !told().await {
        asked += 1;
        assert!(asked < 50, "an open breaker is not reported");
    }

    provider.on("", &[Act::Answer]);
    let deadline = Instant::now() + Duration::from_secs(10);
    while remember(&tenant, "found again").await.status != 201 {
        assert!(Instant::now() < deadline, "no recovery within ten seconds");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(app.stranger().get("/readyz").await.expect(200)["provider"]["ok"], true);
    assert_eq!(stored(&tenant).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_while_its_provider_is_down() {
    let provider = Provider::start().await;
    let app = TestApp::start_with(|config| {
        provider.configure(config, 384);
        config.embeddings.base_url = "http://127.0.0.1:9/v1".into();
    })
    .await;
    assert_eq!(app.stranger().get("/readyz").await.expect(200)["provider"]["detail"], "not called yet");
    let tenant = app.new_tenant().await;
    remember(&tenant, "lost").await.assert_problem(503, "embedding_unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_texts_hang_keeps_no_other_waiting() {
    let provider = Provider::start().await;
    let app = TestApp::start_with(|config| {
        provider.configure(config, 384);
        config.embeddings.deadline_secs = 10;
        config.embeddings.max_calls = 4;
        config.embeddings.max_tenant_calls = 2;
    })
    .await;
    let (hanging, other) = (app.new_tenant().await, app.new_tenant().await);
    provider.on("hang", &[Act::Hang]);
    let hung = (0..12).map(|n| {
        let client = hanging.client.clone();
        tokio::spawn(async move { remember(&client, &format!("hang {n}")).await.status })
    });
    let hung: Vec<_> = hung.collect();
    while provider.calls("hang").len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for n in 0..10 {
        remember(&other, &format!("stone {n}")).await.expect(201);
    }
    assert_eq!(provider.calls("hang").len(), 2, "no more than its share");
    for status in hung {
        assert_eq!(status.await.expect("an answer"), 503);
    }
    // However often one tenant's calls failed, another's are made.
    remember(&other, "the last stone").await.expect(201);
    assert_eq!(stored(&hanging).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_texts_are_split_over_calls_and_keep_their_order() {
    let provider = Provider::start().await;
    let app = TestApp::start_with(|config| provider.configure(config, 64)).await;
    let (embedder, owner) =
        (&app.app.embedder, Owner { tenant: TenantId::new(), secret: None, budget: Budget::default() });
    let texts: Vec<String> = (0..2 * 2_048 + 1).map(|n| format!("token{n}")).collect();
    let vectors = embedder.embed_texts(&owner, texts.clone()).await.expect("vectors");
    let mut sizes: Vec<usize> = provider.calls("").iter().map(|call| inputs(call).count()).collect();
    sizes.sort_unstable();
    assert_eq!((vectors.len(), sizes), (texts.len(), vec![1, 2_048, 2_048]));
    for n in [0, 1, 2_047, 2_048, 4_095, 4_096] {
        let alone = embedder.embed_query(&owner, &texts[n]).await.expect("a vector");
        let cosine: f32 = alone.iter().zip(&vectors[n][0]).map(|(x, y)| x * y).sum();
        assert!(cosine > 0.999, "text {n}: {cosine}");
    }

    let long: Vec<String> = (0..100).map(|n| format!("long{n} {}", "stone ".repeat(1_300))).collect();
    let vectors = embedder.embed_texts(&owner, long).await.expect("vectors");
    assert!(vectors.len() == 100 && vectors.iter().all(|windows| windows.len() == 1));
    let calls = provider.calls("stone");
    let bytes = calls.iter().map(|call| inputs(call).map(str::len).sum::<usize>());
    assert!(calls.len() == 3 && bytes.max() <= Some(300_000), "{} calls", calls.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_longer_than_the_model_takes_is_embedded_to_its_end() {
    let provider = Provider::start().await;
    let app = start(&provider).await;
    let tenant = app.new_tenant().await;
    let filler = "We talked about the weather and about nothing in particular. ".repeat(400);
    remember(&tenant, &format!("{filler} heron lighthouse")).await.expect(201);
    assert!(provider.calls("weather").iter().flat_map(inputs).all(|input| input.len() <= 8_191));
    let vectors: i64 = sqlx::query_scalar("SELECT count(*) FROM placements")
        .fetch_one(&mut app.database.superuser().await)
        .await
        .expect("counts");
    assert_eq!(vectors, 4);
    let lighthouse = json!({"query": "heron lighthouse", "mode": "semantic", "explain": true});
    let answer = tenant.recall("ada", lighthouse).await;
    assert_eq!(answer["results"].as_array().map(Vec::len), Some(1), "one memory, however many windows");
}
