//! The kinds of things that are cached.

use std::time::Duration;

use rand::RngExt;
use serde::Serialize;
use utoipa::ToSchema;

use crate::config;
use crate::error::{Code, Invalid};
use crate::json::{FromJson, Json, text};

#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    ToSchema,
    strum::VariantArray,
    strum::IntoStaticStr,
    sqlx::Type,
)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[schema(as = CacheKind)]
#[strum(serialize_all = "lowercase")]
pub enum Kind {
    /// Vectors of texts.
    Embedding,
    /// Answers to recalls.
    Recall,
    /// Contexts of circles.
    Circle,
}

impl Kind {
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// With what the names of its entries begin, after the tenant.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Embedding => "emb:",
            Self::Recall => "rag:",
            Self::Circle => "circle:",
        }
    }

    /// Whether the settings want it cached.
    pub(super) fn is_on(self, settings: &config::Cache) -> bool {
        settings.enabled
            && match self {
                Self::Embedding => settings.embedding,
                Self::Recall => settings.recall,
                Self::Circle => settings.circle,
            }
    }

    /// How long entries are kept, give or take a tenth.
    pub fn ttl_secs(self, settings: &config::Cache) -> u64 {
        match self {
            Self::Embedding => settings.embedding_ttl_secs,
            Self::Recall => settings.recall_ttl_secs,
            Self::Circle => settings.circle_ttl_secs,
        }
    }

    /// How long a new entry is kept: as the settings say, give or take a tenth, so that what was stored at once
    /// does not end at once.
    pub(super) fn lifetime(self, settings: &config::Cache) -> Duration {
        Duration::from_secs_f64(self.ttl_secs(settings) as f64 * rand::rng().random_range(0.9..=1.1))
    }

    /// What ends sooner does not end because its time is over.
    pub(super) fn shortest_lifetime(self, settings: &config::Cache) -> Duration {
        Duration::from_secs_f64(self.ttl_secs(settings) as f64 * 0.9)
    }
}

impl FromJson for Kind {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        match text(json)? {
            "embedding" => Ok(Self::Embedding),
            "recall" => Ok(Self::Recall),
            "circle" => Ok(Self::Circle),
            _ => Err(Invalid::new(Code::InvalidValue, "must be embedding, recall or circle").into()),
        }
    }
}
