//! The name of a recall's answer in the cache: whatever changes the answer is in it, and nothing else. The order of
//! fields and of tags and the spelling out of defaults are not.

use serde::Serialize;
use serde_json::Value;

use crate::cache::{Key, Kind};
use crate::ids::ExternalId;
use crate::recall::model::{Explaining, RecallRequest, Within};

pub struct RecallKey {
    namespace: String,
    identity: Vec<u8>,
}

impl Key for RecallKey {
    const KIND: Kind = Kind::Recall;
    /// The body as it is sent.
    type Value = bytes::Bytes;

    fn namespace(&self) -> String {
        self.namespace.clone()
    }

    fn identity(&self) -> &[u8] {
        &self.identity
    }
}

#[derive(Serialize)]
struct Canonical<'a> {
    query: &'a str,
    k: usize,
    within: CanonicalWithin<'a>,
    mode: &'static str,
    filter: Option<Value>,
    min_score: Option<f64>,
    token_budget: Option<usize>,
    explain: &'a Explaining,
}

#[derive(Serialize)]
enum CanonicalWithin<'a> {
    All,
    Private,
    Circles(Vec<&'a str>),
}

impl RecallKey {
    /// Of what an agent asks.
    pub fn of_agent(agent: &ExternalId, request: &RecallRequest) -> Result<Self, serde_json::Error> {
        Self::of(format!("agent:{agent}:"), request)
    }

    /// Of what a circle is asked, by whomever: the answer is the same for all.
    pub fn of_circle(circle: &ExternalId, request: &RecallRequest) -> Result<Self, serde_json::Error> {
        Self::of(format!("circle:{circle}:"), request)
    }

    fn of(asked: String, request: &RecallRequest) -> Result<Self, serde_json::Error> {
        // Taken apart as a whole, so that no new field can be forgotten.
        let RecallRequest { query, k, within, mode, filter, min_score, token_budget, explain, cache: _ } = request;
        let canonical = Canonical {
            query,
            k: *k,
            within: CanonicalWithin::of(within),
            mode: mode.name(),
            filter: filter.canonical(),
            min_score: *min_score,
            token_budget: *token_budget,
            explain,
        };
        let namespace = format!("{}{asked}", Self::KIND.namespace());
        Ok(Self { namespace, identity: serde_json::to_vec(&canonical)? })
    }
}

impl<'a> CanonicalWithin<'a> {
    fn of(within: &'a Within) -> Self {
        match within {
            Within::All => Self::All,
            Within::Private => Self::Private,
            Within::Circles(ids) => Self::Circles(ids.iter().map(ExternalId::as_str).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{FromJson, MAX_DEPTH, parse};

    fn key(request: &str) -> RecallKey {
        let json = parse(request.as_bytes(), MAX_DEPTH).expect("JSON");
        let request = RecallRequest::from_json(&json).expect("a request");
        RecallKey::of_agent(&ExternalId::parse("ada").expect("an id"), &request).expect("a key")
    }

    #[test]
    fn order_and_defaults_make_no_difference() {
        let plain = key(r#"{"query":"kettle"}"#).identity;
        let same = [
            r#"{"k":10,"query":"kettle"}"#,
            r#"{"query":"kettle","within":"all","mode":"hybrid","filter":{},"explain":false,"cache":"use"}"#,
            r#"{"query":"kettle","min_score":null,"token_budget":null,"cache":"refresh"}"#,
        ];
        same.into_iter().for_each(|request| assert_eq!(key(request).identity, plain, "{request}"));
        let without = key(r#"{"query":"kettle","explain":{"without":["date","thread"]}}"#).identity;
        assert_eq!(key(r#"{"query":"kettle","explain":{"without":["thread","date","date"]}}"#).identity, without);
        let circles = key(r#"{"query":"kettle","within":{"circles":["a","b"]}}"#).identity;
        assert_eq!(key(r#"{"query":"kettle","within":{"circles":["b","a","b"]}}"#).identity, circles);
    }

    #[test]
    fn whatever_changes_the_answer_changes_the_key() {
        let requests = [
            r#"{"query":"kettle"}"#,
            r#"{"query":"Kettle"}"#,
            r#"{"query":"kettle","k":11}"#,
            r#"{"query":"kettle","within":"private"}"#,
            r#"{"query":"kettle","within":{"circles":["a"]}}"#,
            r#"{"query":"kettle","within":{"circles":["a","b"]}}"#,
            r#"{"query":"kettle","mode":"semantic"}"#,
            r#"{"query":"kettle","mode":"lexical"}"#,
            r#"{"query":"kettle","filter":{"tags_any":["a"]}}"#,
            r#"{"query":"kettle","min_score":0.5}"#,
            r#"{"query":"kettle","token_budget":500}"#,
            r#"{"query":"kettle","explain":true}"#,
            r#"{"query":"kettle","explain":{"without":["thread"]}}"#,
            r#"{"query":"kettle","explain":{"without":["thread","date"]}}"#,
        ];
        let keys: std::collections::HashSet<Vec<u8>> = requests.iter().map(|request| key(request).identity).collect();
        assert_eq!(keys.len(), requests.len());
    }
}
