//! Asks servers and logs what came of it.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::history::{Act, Event, History, Layer, Outcome, Seen, State, Subject};

/// Longer than any server is stopped.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Caller {
    http: reqwest::Client,
    urls: Vec<String>,
    key: String,
    history: Arc<History>,
}

/// An answer, or why there is none.
pub struct Reply {
    pub sent: Duration,
    pub done: Duration,
    pub status: Option<u16>,
    pub text: String,
    /// Null if that is no JSON.
    pub body: Value,
    pub layer: Layer,
    /// Set where the status is no success.
    trouble: Option<String>,
}

/// What an agent's recall is asked for: the memory with this tag.
#[derive(Debug, Clone)]
pub struct Glimpse {
    pub agent: String,
    pub number: u32,
}

impl Caller {
    pub fn new(urls: Vec<String>, key: String, history: Arc<History>) -> Self {
        // Shorter than servers keep them, so that none ends in our hands.
        let http = reqwest::Client::builder().timeout(PATIENCE).pool_idle_timeout(Duration::from_secs(2));
        Self { http: http.build().expect("a client"), urls, key, history }
    }

    pub async fn call(&self, instance: usize, method: Method, path: &str, body: Value, key: Option<&str>) -> Reply {
        let request = self.request(instance, method, path, key);
        self.send(if body.is_null() { request } else { request.json(&body) }).await
    }

    /// A request below `/v1`, with this key or its own.
    pub fn request(&self, instance: usize, method: Method, path: &str, key: Option<&str>) -> RequestBuilder {
        let url = format!("{}/v1{path}", self.urls[instance]);
        self.http.request(method, url).bearer_auth(key.unwrap_or(&self.key))
    }

    pub async fn send(&self, request: RequestBuilder) -> Reply {
        let sent = self.history.now();
        let answer = async {
            let answer = request.send().await?;
            let (status, layer) = (answer.status().as_u16(), layer(&answer));
            Ok::<_, reqwest::Error>((status, layer, answer.text().await?))
        };
        let answer = answer.await;
        let done = self.history.now();
        match answer {
            Ok((status, layer, text)) => {
                let body: Value = serde_json::from_str(&text).unwrap_or_default();
                let trouble = (status >= 400).then(|| format!("{status} {}", body["code"].as_str().unwrap_or("?")));
                Reply { sent, done, status: Some(status), text, body, layer, trouble }
            }
            Err(error) => {
                let trouble = Some(format!("no answer: {error:?}"));
                Reply { sent, done, status: None, text: String::new(), body: Value::Null, layer: Layer::None, trouble }
            }
        }
    }

    /// Logs a call that others judge, if it came to nothing: a fault has to excuse that.
    pub fn failed(&self, subject: Subject, instance: usize, reply: &Reply, is_write: bool) {
        if reply.status.is_some_and(|status| status < 500) {
            return;
        }
        let act = match is_write {
            true => Act::Write { to: State::Gone, outcome: Outcome::Unknown },
            false => Act::Read { seen: None, from: Layer::None, degraded: false },
        };
        self.log(subject, instance, reply, act);
    }

    /// Logs what a write to these subjects came to; returns that, too.
    pub fn wrote(&self, instance: usize, reply: &Reply, writes: &[(Subject, State)]) -> Outcome {
        let outcome = reply.outcome();
        for (subject, to) in writes {
            self.log(*subject, instance, reply, Act::Write { to: *to, outcome });
        }
        outcome
    }

    /// Recalls what one tag marks, with one of several questions.
    pub async fn recall(&self, instance: usize, glimpse: &Glimpse, question: u32) {
        let path = format!("/agents/{}/recall", glimpse.agent);
        let query = match question {
            // Never asked before: it has to be embedded.
            0 => format!("Where does stone {} lie at {:?}?", glimpse.number, self.history.now()),
            other => format!("Which stone lies at place {other}?"),
        };
        let body = json!({"query": query, "k": 5, "filter": {"tags_any": [tag(glimpse.number)]}});
        let reply = self.call(instance, Method::POST, &path, body, None).await;
        let seen = (reply.status == Some(200)).then(|| seen(&reply.body, glimpse.number));
        let degraded = reply.body["warnings"].as_array().is_some_and(|warnings| !warnings.is_empty());
        let act = Act::Read { seen, from: reply.layer, degraded };
        self.log(Subject::Memory(glimpse.number), instance, &reply, act);
    }

    /// Recalls with a key that may have been revoked; whether it was let in is what is seen.
    pub async fn try_key(&self, instance: usize, number: u32, key: &str, glimpse: &Glimpse) {
        let path = format!("/agents/{}/recall", glimpse.agent);
        let body = json!({"query": "Which stone lies at place 1?", "k": 5,
            "filter": {"tags_any": [tag(glimpse.number)]}});
        let mut reply = self.call(instance, Method::POST, &path, body, Some(key)).await;
        let seen = match reply.status {
            Some(200) => Some(Seen::Version(1)),
            Some(401) => Some(Seen::Nothing),
            _ => None,
        };
        reply.trouble.take_if(|_| seen.is_some());
        let act = Act::Read { seen, from: reply.layer, degraded: false };
        self.log(Subject::Key(number), instance, &reply, act);
    }

    fn log(&self, subject: Subject, instance: usize, reply: &Reply, act: Act) {
        let (sent, done, trouble) = (reply.sent, reply.done, reply.trouble.clone());
        self.history.log(Event { subject, instance, sent, done, act, trouble });
    }
}

impl Reply {
    pub fn outcome(&self) -> Outcome {
        match (self.status, self.trouble.as_deref()) {
            (Some(200..300), _) => Outcome::Acknowledged,
            // Nothing is stored before it is embedded.
            (Some(400..500), _) | (_, Some("503 embedding_unavailable")) => Outcome::Refused,
            _ => Outcome::Unknown,
        }
    }
}

pub fn tag(number: u32) -> String {
    format!("stone-{number}")
}

pub fn content(number: u32, version: u32) -> String {
    format!("Stone {number} lies at place {version}.")
}

fn seen(answer: &Value, number: u32) -> Seen {
    let results = answer["results"].as_array().map(Vec::as_slice).unwrap_or_default();
    let strange = || Seen::Strange(answer["results"].to_string());
    match results {
        [] => Seen::Nothing,
        [one] => {
            let text = one["memory"]["content"].as_str().unwrap_or_default();
            let version = text.strip_prefix(&format!("Stone {number} lies at place "));
            let version = version.and_then(|rest| rest.strip_suffix('.')?.parse().ok());
            version.map_or_else(strange, Seen::Version)
        }
        _ => strange(),
    }
}

fn layer(answer: &reqwest::Response) -> Layer {
    let header = answer.headers().get("cairn-cache").and_then(|value| value.to_str().ok()).unwrap_or_default();
    match header.starts_with("hit") {
        true if header.contains("layer=local") => Layer::Local,
        true if header.contains("layer=redis") => Layer::Redis,
        true => panic!("a hit from nowhere: {header:?}"),
        false => Layer::None,
    }
}
