//! What can go wrong between a client verb and the server, in words for people.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// Why a call has no answer to work with.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{url} does not answer ({}); is `cairn serve` running there?", innermost(.cause))]
    Unreachable { url: String, cause: reqwest::Error },
    #[error("{0}")]
    Refused(Box<Problem>),
    #[error("the answer is not what this version of cairn understands: {0}")]
    Unreadable(serde_json::Error),
}

/// An error answer of the server.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    pub status: u16,
    pub code: String,
    pub detail: String,
    pub request_id: String,
    pub errors: Vec<FieldProblem>,
    #[serde(skip)]
    retry_after: Option<Duration>,
}

/// What is wrong with one field.
#[derive(Debug, Deserialize)]
pub struct FieldProblem {
    pub pointer: String,
    pub detail: String,
}

impl Failure {
    /// Whether the same call may succeed later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { cause, .. } => !cause.is_builder(),
            Self::Refused(problem) => {
                problem.code != "embedding_model_mismatch" && matches!(problem.status, 429 | 503 | 504)
            }
            Self::Unreadable(_) => false,
        }
    }

    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(problem) => problem.retry_after,
            _ => None,
        }
    }
}

impl Problem {
    pub fn read(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let told: Self = serde_json::from_slice(body).unwrap_or_default();
        Self { status, retry_after, ..told }
    }

    /// Whether it is about what was sent, not about who sent it or how the server fares.
    pub fn blames_the_body(&self) -> bool {
        matches!(self.status, 400 | 409 | 413 | 422) && self.code != "limit_reached"
    }

    /// The places in the array `name` of the body that are to blame, each with the reason.
    pub fn blamed(&self, name: &str) -> BTreeMap<usize, String> {
        let mut blamed: BTreeMap<usize, String> = BTreeMap::new();
        for error in &self.errors {
            let Some(rest) = error.pointer.strip_prefix('/').and_then(|rest| rest.strip_prefix(name)) else {
                continue;
            };
            let (index, field) =
                rest.trim_start_matches('/').split_once('/').unwrap_or((rest.trim_start_matches('/'), ""));
            if let Ok(index) = index.parse() {
                let reason = if field.is_empty() { error.detail.clone() } else { format!("{field}: {}", error.detail) };
                blamed.entry(index).and_modify(|reasons| *reasons = format!("{reasons}; {reason}")).or_insert(reason);
            }
        }
        blamed
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code.is_empty() {
            return write!(out, "the server answered {} without saying why", self.status);
        }
        write!(out, "the server answered {} {}: {}", self.status, self.code, self.detail)?;
        for error in self.errors.iter().filter(|error| !self.detail.contains(&error.detail)) {
            write!(out, "; {}: {}", error.pointer, error.detail)?;
        }
        match (self.status, self.request_id.as_str()) {
            (500.., id) if !id.is_empty() => write!(out, " (request {id})"),
            _ => Ok(()),
        }
    }
}

/// The last cause says most: `connection refused`, not `error sending request`.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::Problem;

    #[test]
    fn a_pointer_leads_back_to_the_item() {
        let body = br#"{"status":422,"code":"field_empty","detail":"two fields are invalid","errors":[
            {"pointer":"/memories/3/content","code":"field_empty","detail":"must not be empty"},
            {"pointer":"/memories/3/tags/0","code":"field_too_long","detail":"is too long"},
            {"pointer":"/memories/12","code":"invalid_type","detail":"must be an object"}]}"#;
        let blamed = Problem::read(422, None, body).blamed("memories");
        assert_eq!(blamed.len(), 2);
        assert_eq!(blamed[&3], "content: must not be empty; tags/0: is too long");
        assert_eq!(blamed[&12], "must be an object");
    }

    #[test]
    fn a_pointer_to_the_whole_array_blames_nobody() {
        let body = br#"{"code":"field_empty","errors":[{"pointer":"/memories","detail":"must not be empty"}]}"#;
        assert!(Problem::read(422, None, body).blamed("memories").is_empty());
    }

    #[test]
    fn an_answer_that_is_no_problem_still_has_a_status() {
        assert_eq!(Problem::read(502, None, b"<html>").to_string(), "the server answered 502 without saying why");
    }
}
