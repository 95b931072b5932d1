//! What recall asks and answers, as a client sees it: only the fields that verbs use.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::recall::Explaining;

/// How to search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Semantic,
    Lexical,
    Hybrid,
}

#[derive(Debug, Serialize)]
pub struct Question<'a> {
    pub query: &'a str,
    pub k: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    pub explain: &'a Explaining,
    pub cache: &'static str,
}

#[derive(Debug, Deserialize)]
pub struct Recalled {
    pub results: Vec<Found>,
    #[serde(default)]
    pub warnings: Vec<Warning>,
}

#[derive(Debug, Deserialize)]
pub struct Found {
    pub memory: Memory,
    pub score: f64,
    pub via: Via,
    pub explain: Option<Explain>,
}

#[derive(Debug, Deserialize)]
pub struct Memory {
    pub content: String,
    pub key: Option<String>,
    pub speaker: Option<String>,
    pub occurred_at: Option<String>,
    pub created_at: String,
}

#[derive(Debug, Deserialize)]
pub struct Via {
    #[serde(rename = "type")]
    pub kind: String,
    pub id: String,
}

#[derive(Debug, Deserialize)]
pub struct Explain {
    pub semantic: Option<f64>,
    pub lexical: Option<f64>,
    pub speaker: Option<f64>,
    pub date: Option<f64>,
    pub thread: Option<f64>,
    pub recency: f64,
    pub importance: f64,
    pub rank_semantic: Option<u64>,
    pub rank_lexical: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub struct Warning {
    pub code: String,
    pub detail: String,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Semantic => "semantic",
            Self::Lexical => "lexical",
            Self::Hybrid => "hybrid",
        }
    }
}
