//! What recall answers.

use serde::Serialize;
use utoipa::ToSchema;

use crate::ids::ExternalId;
use crate::memories::Memory;

/// What was found, best first.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecallAnswer {
    pub results: Vec<Recalled>,
    /// Whether an approximate index was used; false means that every memory was compared.
    pub approximate: bool,
    pub warnings: Vec<Warning>,
    /// How candidates were found; only with `explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Path>,
}

/// How the candidates of an answer were found. The first two compare every memory and come to the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Path {
    /// In the memory of the server.
    HotIndex,
    /// By Postgres.
    ExactScan,
    /// By Postgres, with an approximate index of at least one of the scopes.
    ApproximateIndex,
}

impl Path {
    pub const ALL: [Self; 3] = [Self::HotIndex, Self::ExactScan, Self::ApproximateIndex];

    pub fn name(self) -> &'static str {
        self.into()
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Recalled {
    pub memory: Memory,
    #[schema(minimum = 0, maximum = 1)]
    pub score: f64,
    pub via: Via,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explain: Option<Explain>,
}

/// The scope in which a memory was found.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Via {
    #[serde(rename = "type")]
    pub kind: ViaKind,
    pub id: ExternalId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ViaKind {
    Agent,
    Circle,
}

/// The parts of a score, each 0 to 1. What was not computed is null.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Explain {
    /// Cosine similarity of question and memory, where it is above 0.
    pub semantic: Option<f64>,
    /// BM25, with the words said around the memory, as a share of the most that any memory could reach.
    pub lexical: Option<f64>,
    /// 1 if it was said by whom the question names, 0 if not; null if the question names no speaker.
    pub speaker: Option<f64>,
    /// 1 for what happened at the time that the question names, half of it 10 days away; null if it names none.
    pub date: Option<f64>,
    /// What was found of the best memory of its thread.
    pub thread: Option<f64>,
    /// 1 for the newest memory of the scopes, half of it 30 days earlier.
    pub recency: f64,
    pub importance: f64,
    /// Its place by meaning alone, from 1, among those compared.
    pub rank_semantic: Option<usize>,
    /// Its place by words alone, from 1.
    pub rank_lexical: Option<usize>,
    /// It says the same as a better one, and so comes after all that do not.
    pub duplicate: bool,
    /// What the reranker says of it, where there is one: results are in this order, and keep their scores.
    pub rerank: Option<f64>,
}

/// Something the caller should know about an answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Warning {
    #[schema(example = "embedding_unavailable")]
    pub code: &'static str,
    pub detail: String,
}
