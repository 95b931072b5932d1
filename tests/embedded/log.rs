//! One line a request, and what is never in it: whatever callers say, store or show as their credential.

use reqwest::Method;
use serde_json::{Value, json};

use crate::listener::{Heard, Listener};
use crate::site::{Server, Site, block_on, signal};

/// In everything that callers make up; no other word of a log looks like them.
const SAID: [&str; 14] = [
    "heron-content",
    "heron-batch",
    "heron-query",
    "heron-unsent",
    "heron-tag",
    "heron-metadata",
    "heron-key",
    "heron-speaker",
    "heron-title",
    "heron-details",
    "heron-note",
    "heron-name",
    "heron-path",
    "heron-token",
];

const DIMS: usize = 2;

/// Answers what is whole, and quotes what it refuses.
fn indiscreet(heard: &Heard) -> Option<Vec<u8>> {
    let request: Value = serde_json::from_slice(&heard.body).expect("JSON");
    let inputs = request["input"].as_array().expect("texts");
    if inputs.iter().any(|input| input.as_str().is_some_and(|input| input.contains("unsent"))) {
        return Some(json!({"data": inputs, "error": heard.header("authorization")}).to_string().into_bytes());
    }
    let data: Vec<Value> =
        (0..inputs.len()).map(|index| json!({"index": index, "embedding": vec![1.0; DIMS]})).collect();
    Some(json!({ "data": data }).to_string().into_bytes())
}

/// Everything that was asked of a server, one after the other.
struct Talk<'a> {
    server: &'a Server<'a>,
    key: String,
    calls: usize,
}

impl Talk<'_> {
    fn call(&mut self, method: Method, path: &str, agent: Option<&str>, body: &str) -> (u16, Value) {
        self.calls += 1;
        let request = reqwest::Client::new().request(method, format!("{}{path}", self.server.url()));
        let request = request.bearer_auth(&self.key).header("content-type", "application/json").body(body.to_owned());
        let request = match agent {
            Some(agent) => request.header("cairn-agent", agent),
            None => request,
        };
        block_on(async {
            let answer = request.send().await.expect("an answer");
            (answer.status().as_u16(), answer.json().await.unwrap_or_default())
        })
    }

    fn done(&mut self, status: u16, method: Method, path: &str, body: Value) -> Value {
        let (found, answer) = self.call(method.clone(), path, Some("ada"), &body.to_string());
        assert_eq!(found, status, "{method} {path}: {answer}");
        answer
    }

    fn remembers_and_recalls(&mut self) {
        let memory = json!({"content": "heron-content", "tags": ["heron-tag"], "metadata": {"heron-metadata": "heron-metadata"},
            "key": "heron-key", "speaker": "heron-speaker"});
        let memory = self.done(201, Method::POST, "/v1/agents/ada/remember", memory);
        let batch = json!({"memories": [{"content": "heron-batch"}]});
        self.done(200, Method::POST, "/v1/agents/ada/remember/batch", batch);
        let query = json!({"query": "heron-query heron-content", "filter": {"tags_any": ["heron-tag"]}});
        self.done(200, Method::POST, "/v1/agents/ada/recall", query);
        for _ in 0..2 {
            self.done(200, Method::POST, "/v1/agents/ada/recall", json!({"query": "heron-query"}));
        }
        self.done(200, Method::POST, "/v1/agents/ada/recall", json!({"query": "heron-query heron-unsent"}));
        self.done(503, Method::POST, "/v1/agents/ada/remember", json!({"content": "heron-unsent"}));
        self.done(201, Method::PUT, "/v1/circles/crew", json!({"name": "heron-name"}));
        let id = memory["id"].as_str().expect("an id").to_owned();
        self.done(201, Method::PUT, &format!("/v1/memories/{id}/circles/crew"), json!({}));
        self.done(200, Method::POST, "/v1/circles/crew/recall", json!({"query": "heron-query"}));
        self.done(200, Method::GET, "/v1/circles/crew/context", json!({}));
    }

    fn works_on_tasks(&mut self) {
        let task = json!({"title": "heron-title", "details": "heron-details"});
        let task = self.done(201, Method::POST, "/v1/circles/crew/tasks", task);
        let path = format!("/v1/circles/crew/tasks/{}", task["id"].as_str().expect("an id"));
        self.done(200, Method::POST, &format!("{path}/claim"), json!({"note": "heron-note"}));
        self.done(200, Method::POST, &format!("{path}/submit"), json!({"note": "heron-note"}));
    }

    /// What is shown once.
    fn makes_credentials(&mut self) -> Vec<String> {
        let key = json!({"name": "heron-name", "scopes": ["memories:read"]}).to_string();
        let (_, key) = self.call(Method::POST, "/v1/keys", None, &key);
        let (_, token) = self.call(Method::POST, "/v1/auth/token", None, "{}");
        [&key["key"], &token["access_token"]].map(|secret| secret.as_str().expect("a secret").to_owned()).to_vec()
    }

    fn is_refused(&mut self) {
        let ada = "/v1/agents/ada/recall";
        for (path, body) in [
            (ada, "{\"query\": \"heron-query"),
            (ada, "{\"query\": 1, \"heron-query\": \"heron-query\"}"),
            (ada, "{\"query\": \"heron-query\", \"mode\": \"heron-query\"}"),
            ("/v1/heron-path", "{}"),
            ("/v1/agents/heron-path%20/recall?heron-path", "{\"query\": \"heron-query\"}"),
        ] {
            let (status, answer) = self.call(Method::POST, path, None, body);
            assert!((400..500).contains(&status), "{path} {body}: {status} {answer}");
        }
        let key = std::mem::replace(&mut self.key, "heron-token".into());
        assert_eq!(self.call(Method::POST, ada, None, "{\"query\": \"heron-query\"}").0, 401);
        self.key = key;
    }
}

fn site(provider: &Listener) -> Site {
    let mut site = Site::new();
    let dims = DIMS.to_string();
    for (name, value) in [
        ("CAIRN_LOG", "info"),
        ("CAIRN_EMBEDDINGS__PROVIDER", "openai"),
        ("CAIRN_EMBEDDINGS__MODEL", "stones-1"),
        ("CAIRN_EMBEDDINGS__DIMENSIONS", &dims),
        ("CAIRN_EMBEDDINGS__BASE_URL", &provider.url()),
        ("CAIRN_EMBEDDINGS__API_KEY", "sk-Heron-0123456789abcdef"),
    ] {
        site.set(name, value);
    }
    site
}

/// The lines of requests, each with the fields that all have.
fn requests(log: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines: Vec<Value> = lines.filter(|line| line["message"] == "request").collect();
    for line in &lines {
        assert!(line["request_id"].is_string() && line["method"].is_string() && line["route"].is_string(), "{line}");
        assert!(line["status"].is_u64() && line["duration_ms"].is_f64(), "{line}");
    }
    lines
}

#[test]
fn nothing_that_was_said_stored_or_shown_as_a_credential_is_in_the_log() {
    let provider = Listener::start(indiscreet);
    let site = site(&provider);
    let server = site.serve();
    let mut talk = Talk { server: &server, key: site.dev_key(), calls: 0 };
    talk.remembers_and_recalls();
    talk.works_on_tasks();
    let mut secrets = talk.makes_credentials();
    talk.is_refused();
    // The database is gone in the middle of it.
    signal(site.postmaster(), nix::sys::signal::Signal::SIGKILL);
    let (status, answer) = talk.call(Method::POST, "/v1/agents/ada/remember", None, "{\"content\": \"heron-content\"}");
    assert!(status >= 500 || status == 201, "{answer}");
    let calls = talk.calls;
    secrets.extend([site.dev_key(), "sk-Heron-0123456789abcdef".into()]);

    let log = server.log();
    for word in SAID.iter().copied().chain(secrets.iter().map(String::as_str)) {
        let line = log.to_lowercase().lines().find(|line| line.contains(&word.to_lowercase())).map(str::to_owned);
        assert_eq!(line, None, "{word} is in the log");
    }
    let lines = requests(&log);
    assert_eq!(lines.len(), calls, "{log}");
    let caches: Vec<&str> = lines.iter().filter_map(|line| line["cache"].as_str()).collect();
    assert!(["hit local", "miss"].iter().all(|outcome| caches.contains(outcome)), "{caches:?}");
    assert!(lines.iter().filter(|line| line["route"] == "/v1/agents/{agent_id}/recall").count() >= 4, "{log}");
    let known = |line: &&Value| line["tenant"].is_string() && line["principal"].is_string();
    assert!(lines.iter().filter(known).count() > calls - 5, "{log}");
}

#[test]
fn the_lines_of_requests_can_be_left_out() {
    let mut site = Site::new();
    site.set("CAIRN_LOG__ACCESS", "false");
    let server = site.serve();
    assert_eq!(server.remember(&site.dev_key(), "The kettle is in the kitchen."), 201);
    let log = server.log();
    assert!(log.contains("serving") && requests(&log).is_empty(), "{log}");
}
