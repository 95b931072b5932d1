//! Traces by OTLP, as a collector gets them from the real binary, and what a bad collector costs.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};

use crate::listener::{Heard, Listener};
use crate::site::{Server, Site, block_on, wait_until};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const RECALL: &str = "POST /v1/agents/{agent_id}/recall";
const STAGES: [&str; 7] = ["gate", "cache", "embed", "candidates", "rank", "pack", "serialise"];

fn taken(_: &Heard) -> Option<Vec<u8>> {
    Some(Vec::new())
}

/// Says the same of any text.
fn vectors(heard: &Heard) -> Option<Vec<u8>> {
    let request: Value = serde_json::from_slice(&heard.body).expect("JSON");
    let inputs = request["input"].as_array().expect("texts").len();
    let data: Vec<Value> = (0..inputs).map(|index| json!({"index": index, "embedding": [0.6, 0.8]})).collect();
    Some(json!({ "data": data }).to_string().into_bytes())
}

/// A server that traces to there, and does not wait long with it.
fn site(endpoint: &str) -> Site {
    let mut site = Site::new();
    site.set("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    site.set("OTEL_BSP_SCHEDULE_DELAY", "50");
    site
}

/// With one memory of ada's, and the key of whoever asks.
fn serve(site: &Site) -> (Server<'_>, String) {
    let (server, key) = (site.serve(), site.dev_key());
    assert_eq!(server.remember(&key, "The kettle is in the kitchen."), 201);
    (server, key)
}

fn exports(collector: &Listener) -> Vec<ExportTraceServiceRequest> {
    let decoded = |heard: &Heard| {
        assert_eq!(
            (heard.line.as_str(), heard.header("content-type")),
            ("POST /v1/traces HTTP/1.1", Some("application/x-protobuf"))
        );
        ExportTraceServiceRequest::decode(heard.body.as_slice()).expect("spans")
    };
    collector.heard().iter().map(decoded).collect()
}

fn spans(collector: &Listener) -> Vec<Span> {
    let scopes =
        exports(collector).into_iter().flat_map(|export| export.resource_spans).flat_map(|one| one.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Recalls as part of the caller's trace, which is recorded or not.
fn recall(server: &Server, key: &str, question: &str, recorded: bool) -> u16 {
    let context = format!("00-{TRACE}-{CALLER}-0{}", u8::from(recorded));
    let request = reqwest::Client::new().post(format!("{}/v1/agents/ada/recall", server.url())).bearer_auth(key);
    let request = request.header("traceparent", context).json(&json!({ "query": question }));
    block_on(async { request.send().await.map_or(0, |answer| answer.status().as_u16()) })
}

#[test]
fn a_recall_is_traced_by_stages_between_its_caller_and_the_provider() {
    let (collector, provider) = (Listener::start(taken), Listener::start(vectors));
    let mut site = site(&collector.url());
    site.set("OTEL_SERVICE_NAME", "stones");
    site.set("CAIRN_EMBEDDINGS__PROVIDER", "openai");
    site.set("CAIRN_EMBEDDINGS__MODEL", "stones-1");
    site.set("CAIRN_EMBEDDINGS__DIMENSIONS", "2");
    site.set("CAIRN_EMBEDDINGS__BASE_URL", &format!("{}/v1", provider.url()));
    let (server, key) = serve(&site);
    assert_eq!(recall(&server, &key, "Where is the kettle?", true), 200);
    let of_trace =
        || -> Vec<Span> { spans(&collector).into_iter().filter(|span| hex(&span.trace_id) == TRACE).collect() };
    wait_until("the spans come", || of_trace().iter().any(|span| span.name == RECALL));

    let spans = of_trace();
    let named =
        |name: &str| spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name}: {spans:?}"));
    let (whole, call) = (named(RECALL), named("embeddings"));
    assert_eq!((hex(&whole.parent_span_id).as_str(), whole.kind), (CALLER, 2));
    for stage in STAGES {
        let span = named(stage);
        assert_eq!(span.parent_span_id, whole.span_id, "{stage}");
        assert!(whole.start_time_unix_nano <= span.start_time_unix_nano, "{stage}");
        assert!(span.end_time_unix_nano <= whole.end_time_unix_nano, "{stage}");
    }
    assert_eq!((&call.parent_span_id, call.kind), (&named("embed").span_id, 3));
    let told = provider.heard().last().and_then(|heard| heard.header("traceparent").map(str::to_owned));
    assert_eq!(told, Some(format!("00-{TRACE}-{}-01", hex(&call.span_id))));
    let all = format!("{:?}", exports(&collector));
    assert!(
        all.contains("stones") && all.contains("/v1/agents/{agent_id}/recall") && all.contains("\"miss\""),
        "{all}"
    );
    assert!(!all.contains("kettle") && !all.contains(&key), "{all}");
    let line = server.log().lines().find(|line| line.contains(TRACE)).map(str::to_owned);
    assert!(line.is_some_and(|line| line.contains(r#""message":"request""#)), "{}", server.log());
}

#[test]
fn whoever_calls_decides_whether_its_trace_is_recorded() {
    let collector = Listener::start(taken);
    let site = site(&collector.url());
    let (server, key) = serve(&site);
    for turn in 0..20 {
        assert_eq!(recall(&server, &key, &format!("Where is kettle {turn}?"), false), 200);
    }
    assert!(!server.recalls(&key, "A trace of its own."));
    wait_until("the spans come", || spans(&collector).iter().any(|span| span.name == RECALL));
    server.stop();
    assert!(spans(&collector).iter().all(|span| hex(&span.trace_id) != TRACE));
}

#[test]
fn a_collector_that_hangs_holds_up_nobody() {
    let collector = Listener::start(|_| None);
    let site = site(&collector.url());
    let (server, key) = serve(&site);
    wait_until("the collector is called", || {
        assert_eq!(recall(&server, &key, "Where is the kettle?", true), 200);
        !collector.heard().is_empty()
    });
    // Each would take five seconds if it waited for the collector.
    let began = Instant::now();
    for turn in 0..100 {
        assert_eq!(recall(&server, &key, &format!("Where is kettle {turn}?"), true), 200);
    }
    assert!(began.elapsed() < Duration::from_secs(100), "{:?}", began.elapsed());
    let log = server.stop();
    assert!(log.iter().any(|message| message.contains("the last spans were not sent")), "{log:?}");
}

#[test]
fn a_collector_that_is_away_is_told_of_once_and_found_again() {
    let taken_port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken_port.local_addr().expect("an address");
    drop(taken_port);
    let site = site(&format!("http://{address}"));
    let (server, key) = serve(&site);
    let told = |words: &str| server.log().matches(words).count();
    for turn in 0..20 {
        assert_eq!(recall(&server, &key, &format!("Where is kettle {turn}?"), true), 200);
        std::thread::sleep(Duration::from_millis(20));
    }
    wait_until("the log says so", || told("the collector takes no spans") == 1);
    let collector = Listener::on(TcpListener::bind(address).expect("the port is free again"), taken);
    wait_until("the collector is found", || {
        recall(&server, &key, "Where is the kettle?", true);
        told("the collector takes spans again") == 1
    });
    assert!(!spans(&collector).is_empty());
    assert_eq!(told("the collector takes no spans"), 1);
}

#[test]
fn without_a_collector_a_caller_finds_its_trace_in_the_log() {
    let site = Site::new();
    let (server, key) = serve(&site);
    assert_eq!(recall(&server, &key, "Where is the kettle?", true), 200);
    let lines: Vec<Value> = server.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(lines.iter().any(|line| line["trace_id"] == TRACE), "{lines:?}");
}
