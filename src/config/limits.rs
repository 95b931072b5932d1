//! Limits on what a request may ask for.

use anyhow::bail;
use serde::{Deserialize, Serialize};

/// What a request may ask for at most. The defaults are the contract's, and can be lowered: clients rely on them as
/// the specification states them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Of a body.
    pub body_bytes: usize,
    /// Of the body of a batch.
    pub batch_body_bytes: usize,
    /// Memories in a batch.
    pub batch_memories: usize,
    /// Of a memory's content.
    pub content_bytes: usize,
    /// Of metadata, as JSON.
    pub metadata_bytes: usize,
    /// Tags of a memory.
    pub tags: usize,
    /// Of a question.
    pub query_bytes: usize,
    /// Results of a recall.
    pub results: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1024 * 1024,
            batch_body_bytes: 4 * 1024 * 1024,
            batch_memories: 100,
            content_bytes: 32 * 1024,
            metadata_bytes: 16 * 1024,
            tags: 32,
            query_bytes: 8 * 1024,
            results: 100,
        }
    }
}

impl Limits {
    fn named(&self) -> [(&'static str, usize); 8] {
        [
            ("body_bytes", self.body_bytes),
            ("batch_body_bytes", self.batch_body_bytes),
            ("batch_memories", self.batch_memories),
            ("content_bytes", self.content_bytes),
            ("metadata_bytes", self.metadata_bytes),
            ("tags", self.tags),
            ("query_bytes", self.query_bytes),
            ("results", self.results),
        ]
    }

    pub(super) fn validate(&self) -> anyhow::Result<()> {
        for ((name, limit), (_, most)) in self.named().into_iter().zip(Self::default().named()) {
            if !(1..=most).contains(&limit) {
                bail!("configuration: setting limits.{name}: must be 1 to {most}, not {limit}");
            }
        }
        Ok(())
    }
}
