//! Reranking: a local model says what its weights say, and an endpoint that misbehaves costs an order and no more.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cairn::bert::Precision;
use cairn::config::{ApiKey, Config, RerankerName};
use cairn::ids::TenantId;
use cairn::rerank::{CrossEncoder, Metrics, Reranker};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::TestApp;
use crate::tiny_bert::TinyBert;

const KEY: &str = "sk-Heron-0123456789";

/// What the endpoint does with a call: waits, then says this.
type Act = (Duration, u16, String);

fn say(status: u16, body: impl Into<String>) -> Act {
    (Duration::ZERO, status, body.into())
}

fn results(scores: &[f32]) -> Act {
    let results: Vec<Value> =
        scores.iter().enumerate().map(|(index, score)| json!({"index": index, "relevance_score": score})).collect();
    say(200, json!({ "results": results }).to_string())
}

/// An endpoint that does one thing after the other; the last stays.
struct Endpoint {
    url: String,
    calls: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Endpoint {
    async fn start(acts: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/v1/rerank", listener.local_addr().expect("an address"));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (seen, acts) = (calls.clone(), Arc::new(Mutex::new(acts.into_iter().collect::<VecDeque<Act>>())));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, seen.clone(), acts.clone()));
            }
        });
        Self { url, calls }
    }

    fn reranker(&self) -> Reranker {
        let mut config = Config::default();
        config.rerank.provider = RerankerName::Http;
        config.rerank.url = Some(self.url.clone());
        config.rerank.model = Some("judge-1".into());
        config.rerank.api_key = Some(ApiKey::from(KEY));
        config.rerank.deadline_ms = 1_000;
        Reranker::start(&config, Metrics::new().expect("metrics")).expect("starts").expect("a reranker")
    }

    fn calls(&self) -> usize {
        self.calls.lock().expect("calls").len()
    }
}

/// One call a connection.
async fn serve(stream: TcpStream, seen: Arc<Mutex<Vec<(String, Value)>>>, acts: Arc<Mutex<VecDeque<Act>>>) {
    let mut stream = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let from = head.len();
        if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
        let line = head[from..].to_lowercase();
        length = line.strip_prefix("content-length:").map_or(length, |n| n.trim().parse().expect("a length"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.expect("a body");
    seen.lock().expect("calls").push((head, serde_json::from_slice(&body).expect("JSON")));
    let (wait, status, body) = {
        let mut acts = acts.lock().expect("acts");
        if acts.len() > 1 { acts.pop_front().expect("an act") } else { acts[0].clone() }
    };
    tokio::time::sleep(wait).await;
    let length = body.len();
    let answer = format!("HTTP/1.1 {status} So\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    // Who hung up does not mind.
    let _ = stream.write_all(answer.as_bytes()).await;
}

async fn ask(reranker: &Reranker, tenant: TenantId) -> Result<Vec<f32>, String> {
    let documents = ["a kettle", "a heron"].map(str::to_owned).to_vec();
    reranker.rerank(tenant, "Which bird?", documents).await.map_err(|error| format!("{error:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_asked_in_the_form_that_providers_share() {
    let endpoint = Endpoint::start([results(&[0.1, 0.8])]).await;
    assert_eq!(ask(&endpoint.reranker(), TenantId::new()).await, Ok(vec![0.1, 0.8]));
    let (head, body) = endpoint.calls.lock().expect("calls")[0].clone();
    assert!(head.starts_with("POST /v1/rerank ") && head.contains(&format!("Bearer {KEY}")), "{head}");
    let wanted = json!({"model": "judge-1", "query": "Which bird?", "documents": ["a kettle", "a heron"], "top_n": 2});
    assert_eq!(body, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_is_tried_once_more_and_what_may_not_is_not() {
    for (first, calls, answered) in [
        (say(500, ""), 2, true),
        (say(429, ""), 2, true),
        (say(400, KEY), 1, false),
        (say(302, ""), 1, false),
        (say(200, "so?"), 1, false),
        (results(&[0.5]), 1, false),
        (results(&[0.5, 0.5, 0.5]), 1, false),
    ] {
        let endpoint = Endpoint::start([first.clone(), results(&[0.1, 0.8])]).await;
        let answer = ask(&endpoint.reranker(), TenantId::new()).await;
        assert_eq!((answer.is_ok(), endpoint.calls()), (answered, calls), "{first:?}: {answer:?}");
        assert!(answer.is_ok() || !format!("{answer:?}").contains(KEY), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_endpoint_is_waited_for_no_longer_than_allowed() {
    let endpoint = Endpoint::start([(Duration::from_secs(60), 200, String::new())]).await;
    let began = Instant::now();
    let answer = ask(&endpoint.reranker(), TenantId::new()).await;
    assert!(answer.expect_err("no answer").contains("longer than 1s"));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_fails_one_tenant_is_not_asked_for_it_but_for_others() {
    let endpoint = Endpoint::start([say(400, "")]).await;
    let (reranker, tenant) = (endpoint.reranker(), TenantId::new());
    for _ in 0..5 {
        ask(&reranker, tenant).await.expect_err("refused");
    }
    assert!(ask(&reranker, tenant).await.expect_err("kept back").contains("given a pause"));
    assert_eq!(endpoint.calls(), 5);
    ask(&reranker, TenantId::new()).await.expect_err("refused");
    assert_eq!(endpoint.calls(), 6);
}

#[test]
fn nothing_is_asked_for_unless_a_provider_is_named() {
    let metrics = Metrics::new().expect("metrics");
    assert!(Reranker::start(&Config::default(), metrics).expect("starts").is_none());
}

fn model(folder: &Path, precision: Precision) -> CrossEncoder {
    CrossEncoder::load_with(folder, precision).expect("the model loads")
}

#[test]
fn a_local_model_scores_as_its_weights_say() {
    let tiny = TinyBert::new(7);
    let folder = tempfile::tempdir().expect("a folder");
    tiny.write(folder.path());
    let (query, documents) = ("w3 w5 w8", ["w5 w9", "w11 w2 w2 w7 w30 w4", "w12"]);
    let owned = documents.map(str::to_owned);
    let exact = model(folder.path(), Precision::Full).scores(query, &owned).expect("scores");
    let eight_bits = model(folder.path(), Precision::of_this_processor()).scores(query, &owned).expect("scores");
    let wanted = documents.map(|document| tiny.score(query, document));
    assert!(wanted[0] != wanted[1] && wanted[1] != wanted[2], "{wanted:?}");
    for index in 0..documents.len() {
        let (exact, eight_bits) = (f64::from(exact[index]), f64::from(eight_bits[index]));
        assert!((exact - wanted[index]).abs() < 1e-5, "{exact} where {} is right", wanted[index]);
        assert!((eight_bits - wanted[index]).abs() < 0.03, "{eight_bits} where {} is right", wanted[index]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_model_takes_texts_of_any_length_and_number() {
    let folder = tempfile::tempdir().expect("a folder");
    TinyBert::new(8).write(folder.path());
    let mut config = Config::default();
    config.rerank.provider = RerankerName::Local;
    config.rerank.model = Some(folder.path().display().to_string());
    config.rerank.deadline_ms = 60_000;
    let reranker = Reranker::start(&config, Metrics::new().expect("metrics")).expect("starts").expect("a reranker");
    let documents: Vec<String> = (0..20).map(|index| format!("w{index} ").repeat(index * 10)).collect();
    let scores = reranker.rerank(TenantId::new(), "w3", documents.clone()).await.expect("scores");
    assert_eq!(scores.len(), documents.len());
    let alone = reranker.rerank(TenantId::new(), "w3", vec![documents[13].clone()]).await.expect("a score");
    assert!((alone[0] - scores[13]).abs() < 1e-5, "a score does not depend on its company");
}

#[test]
fn a_folder_that_is_no_cross_encoder_is_refused_in_one_line_that_names_the_setting() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config::default();
    config.rerank.provider = RerankerName::Local;
    config.rerank.model = Some(folder.path().display().to_string());
    let Err(error) = Reranker::start(&config, Metrics::new().expect("metrics")) else {
        panic!("an empty folder is no model");
    };
    let error = format!("{error:#}");
    assert!(error.contains("rerank.model") && error.contains("config.json") && !error.contains('\n'), "{error}");
}

/// An instance whose recalls are reranked there.
async fn reranking(endpoint: &Endpoint) -> TestApp {
    let url = endpoint.url.clone();
    TestApp::start_with(move |config| {
        config.rerank.provider = RerankerName::Http;
        config.rerank.url = Some(url);
        config.rerank.deadline_ms = 1_000;
        config.rerank.top = 3;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn recall_takes_the_order_of_the_reranker_for_the_best_and_keeps_its_own_behind() {
    let endpoint = Endpoint::start([results(&[0.1, 0.3, 0.9])]).await;
    let app = reranking(&endpoint).await;
    let tenant = app.new_tenant().await;
    for n in 0..5 {
        tenant.remember("ada", &format!("kettle{}", " lamp".repeat(n))).await;
    }
    let own = json!({"query": "kettle", "explain": {"without": ["rerank"]}});
    let own = tenant.recalled("ada", own).await;
    assert_eq!(endpoint.calls(), 0, "nobody was asked");
    let answer = tenant.recall("ada", json!({"query": "kettle", "explain": true, "k": 4})).await;
    let contents: Vec<&str> = answer["results"]
        .as_array()
        .expect("results")
        .iter()
        .filter_map(|one| one["memory"]["content"].as_str())
        .collect();
    assert_eq!(contents, [&own[2], &own[1], &own[0], &own[3]]);
    assert_eq!(answer["results"][0]["explain"]["rerank"], json!(0.9_f32 as f64));
    assert_eq!(answer["results"][3]["explain"]["rerank"], Value::Null);
    // What is wanted is cut from what was judged, not the other way round.
    let one = tenant.recalled("ada", json!({"query": "kettle", "k": 1})).await;
    assert_eq!(one, [own[2].clone()]);
    assert_eq!(endpoint.calls(), 2);
    tenant.recalled("ada", json!({"query": "kettle", "k": 1})).await;
    assert_eq!(endpoint.calls(), 2, "an answer in the cache is in its order already");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reranker_that_fails_costs_its_order_and_a_warning_and_nothing_is_kept() {
    let endpoint = Endpoint::start([say(500, "no"), say(500, "no"), results(&[0.1, 0.9])]).await;
    let app = reranking(&endpoint).await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "kettle").await;
    tenant.remember("ada", "kettle lamp").await;
    let answer = tenant.recall("ada", json!({"query": "kettle"})).await;
    assert_eq!(answer["warnings"][0]["code"], "reranking_unavailable");
    assert_eq!(answer["results"][0]["memory"]["content"], "kettle");
    let answer = tenant.recall("ada", json!({"query": "kettle"})).await;
    assert_eq!(answer["warnings"], json!([]), "it was asked again");
    assert_eq!(answer["results"][0]["memory"]["content"], "kettle lamp");
}
