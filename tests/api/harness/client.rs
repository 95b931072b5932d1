//! A caller: sends requests with a key, and asserts on the answers.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::harness::spec;

#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    pub key: String,
    /// Sent as `Cairn-Agent`.
    acts_as: Option<String>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Client {
    pub fn new(url: String, key: String) -> Self {
        // The server closes a connection that was idle for five seconds, perhaps just as a request is sent on it.
        let idle = Duration::from_secs(3);
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).pool_idle_timeout(idle);
        let http = http.build().expect("a client");
        Self { http, url, key, acts_as: None }
    }

    /// The same caller at another instance.
    pub fn at(&self, url: String) -> Self {
        Self { url, ..self.clone() }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Another caller at the same instance.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// The same caller, acting as an agent.
    pub fn acting_as(&self, agent: &str) -> Self {
        Self { acts_as: Some(agent.to_owned()), ..self.clone() }
    }

    pub fn is_acting(&self) -> bool {
        self.acts_as.is_some()
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(agent) = &self.acts_as {
            request = request.header("cairn-agent", agent);
        }
        if self.key.is_empty() { request } else { request.bearer_auth(&self.key) }
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().expect("a request");
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = self.http.execute(request).await.expect("the server answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("a whole answer");
        spec::check(method.as_str(), &path, status, &headers, &text);
        Answer { status, headers, text }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PUT, path).json(&body)).await
    }

    /// Without a body.
    pub async fn put_nothing(&self, path: &str) -> Answer {
        self.send(self.request(Method::PUT, path)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(&body)).await
    }

    /// Remembers a text that is new; returns the memory.
    pub async fn remember(&self, agent: &str, content: &str) -> Value {
        self.remember_as(agent, json!({ "content": content })).await
    }

    pub async fn remember_as(&self, agent: &str, memory: Value) -> Value {
        self.post(&format!("/v1/agents/{agent}/remember"), memory).await.expect(201)
    }

    pub async fn recall(&self, agent: &str, request: Value) -> Value {
        self.post(&format!("/v1/agents/{agent}/recall"), request).await.expect(200)
    }

    /// The contents that a question brings back, best first.
    pub async fn recalled(&self, agent: &str, request: Value) -> Vec<String> {
        let answer = self.recall(agent, request).await;
        let results = answer["results"].as_array().expect("results");
        results.iter().map(|result| result["memory"]["content"].as_str().expect("content").to_owned()).collect()
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {:?}", self.text))
    }

    /// The body of an answer with this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// A problem of this status and code, in the form that every problem has.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["request_id"], self.header("x-request-id"), "{problem}");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].is_string(), "no {member} in {problem}");
        }
        problem
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }
}
