//! The fields of a memory: types that cannot hold what cannot be stored.

use std::collections::HashSet;

use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use time::OffsetDateTime;
use unicode_normalization::UnicodeNormalization;
use utoipa::ToSchema;

use crate::config::Limits;
use crate::error::{Code, Invalid, Result};
use crate::json::{Fields, FromJson, Json, no_nul, text, whole_number, wrong_type};
use crate::words::{Metadata, bounded, is_blank};

/// Stored exactly as sent: 1 byte to 32 KiB, and more than white space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::Type, ToSchema)]
#[serde(transparent)]
#[sqlx(transparent)]
#[schema(value_type = String, min_length = 1, max_length = 32768, example = "The kettle is broken.")]
pub struct MemoryContent(String);

impl MemoryContent {
    const MAX_BYTES: usize = 32 * 1024;

    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        no_nul(raw)?;
        if is_blank(raw) {
            return Err(Invalid::new(Code::FieldEmpty, "must not be empty"));
        }
        check_content_bytes(raw, Self::MAX_BYTES)?;
        Ok(Self(raw.to_owned()))
    }

    /// Its size in bytes, as the database counts.
    pub fn len(&self) -> i64 {
        self.0.len() as i64
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_content_bytes(content: &str, most: usize) -> Result<(), Invalid> {
    if content.len() <= most {
        return Ok(());
    }
    Err(Invalid::new(Code::ContentTooLarge, format!("may have {most} bytes, not {}", content.len())))
}

/// What sort of thing is remembered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Kind {
    #[default]
    Fact,
    Preference,
    Context,
    Decision,
    Error,
    Feedback,
    Learning,
    Event,
}

impl Kind {
    const NAMES: [(&'static str, Self); 8] = [
        ("fact", Self::Fact),
        ("preference", Self::Preference),
        ("context", Self::Context),
        ("decision", Self::Decision),
        ("error", Self::Error),
        ("feedback", Self::Feedback),
        ("learning", Self::Learning),
        ("event", Self::Event),
    ];

    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        Self::NAMES.into_iter().find(|(name, _)| *name == raw).map(|(_, kind)| kind).ok_or_else(|| {
            let names: Vec<&str> = Self::NAMES.into_iter().map(|(name, _)| name).collect();
            Invalid::new(Code::InvalidValue, format!("must be one of {}", names.join(", ")))
        })
    }

    pub fn name(self) -> &'static str {
        Self::NAMES.into_iter().find(|(_, kind)| *kind == self).map_or("fact", |(name, _)| name)
    }
}

/// The caller's own name for a memory, unique for its agent; in normal form C, at most 256 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, sqlx::Type, ToSchema)]
#[serde(transparent)]
#[sqlx(transparent)]
#[schema(value_type = String, min_length = 1, max_length = 256)]
pub struct MemoryKey(String);

impl MemoryKey {
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        let normal: String = raw.nfc().collect();
        bounded(&normal, 256).map(Self)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who said it: a name, or `user` / `assistant`; also the id of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::Type, ToSchema)]
#[serde(transparent)]
#[sqlx(transparent)]
#[schema(value_type = String, min_length = 1, max_length = 256)]
pub struct ShortText(String);

impl ShortText {
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        bounded(raw, 256).map(Self)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

crate::from_json_string!(MemoryContent, Kind, MemoryKey, ShortText);

/// At most 32 labels of at most 64 bytes, each once, in the order given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Vec<String>, max_items = 32)]
pub struct Tags(Vec<String>);

impl Tags {
    pub const MAX: usize = 32;

    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    pub fn parse_one(raw: &str) -> Result<String, Invalid> {
        bounded(raw, 64)
    }
}

impl FromJson for Tags {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let Json::Array(items) = json else {
            return Err(wrong_type(json, "an array").into());
        };
        check_tag_count(items.len(), Self::MAX)?;
        let mut seen = HashSet::new();
        let mut tags = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let tag = text(item).and_then(Self::parse_one).map_err(|invalid| invalid.under(index))?;
            if seen.insert(tag.clone()) {
                tags.push(tag);
            }
        }
        Ok(Self(tags))
    }
}

fn check_tag_count(count: usize, most: usize) -> Result<(), Invalid> {
    if count <= most {
        return Ok(());
    }
    Err(Invalid::new(Code::TooManyItems, format!("may have {most} tags, not {count}")))
}

/// How much it matters, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, sqlx::Type, ToSchema)]
#[serde(transparent)]
#[sqlx(transparent)]
#[schema(value_type = f64, minimum = 0, maximum = 1, default = 0.5)]
pub struct Importance(f64);

impl Importance {
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Default for Importance {
    fn default() -> Self {
        Self(0.5)
    }
}

impl FromJson for Importance {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let value = f64::from_json(json)?;
        if !(0.0..=1.0).contains(&value) {
            return Err(Invalid::new(Code::OutOfRange, "must be 0 to 1").into());
        }
        // Negative zero is zero.
        Ok(Self(value + 0.0))
    }
}

/// Where a memory comes from: a conversation, a document, and the place in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Source {
    #[serde(rename = "type")]
    #[schema(example = "conversation")]
    pub kind: ShortText,
    pub id: ShortText,
    #[schema(minimum = 0)]
    pub seq: Option<i64>,
}

impl FromJson for Source {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let kind = fields.required("type");
        let id = fields.required("id");
        let seq = fields.nullable::<Seq>("seq").map(|seq| seq.0);
        fields.finish(|| Some(Self { kind: kind?, id: id?, seq }))
    }
}

struct Seq(i64);

impl FromJson for Seq {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        Ok(Self(whole_number(json, 0, i64::MAX)?))
    }
}

/// What a caller can say in a memory, and what an edit can change.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MemoryFields {
    pub content: MemoryContent,
    #[schema(default = "fact", required = false)]
    pub kind: Kind,
    pub key: Option<MemoryKey>,
    #[schema(required = false)]
    pub tags: Tags,
    #[schema(required = false)]
    pub importance: Importance,
    #[schema(required = false)]
    pub metadata: Metadata,
    pub speaker: Option<ShortText>,
    pub source: Option<Source>,
    /// When it happened.
    #[serde(with = "time::serde::rfc3339::option")]
    pub occurred_at: Option<OffsetDateTime>,
    /// From this moment on it is neither recalled nor listed.
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
}

impl MemoryFields {
    /// Reads every field but `circles`; the caller ends the reading.
    pub(super) fn read(fields: &mut Fields<'_, '_>) -> Option<Self> {
        let content = fields.required("content");
        let kind = fields.optional("kind").unwrap_or_default();
        let key = fields.nullable("key");
        let tags = fields.optional("tags").unwrap_or_default();
        let importance = fields.optional("importance").unwrap_or_default();
        let metadata = fields.optional("metadata").unwrap_or_default();
        let speaker = fields.nullable("speaker");
        let source = fields.nullable("source");
        let occurred_at = fields.nullable("occurred_at");
        let expires_at = fields.nullable("expires_at");
        Some(Self {
            content: content?,
            kind,
            key,
            tags,
            importance,
            metadata,
            speaker,
            source,
            occurred_at,
            expires_at,
        })
    }

    /// Holds the fields against the limits of the settings.
    pub fn check(&self, limits: &Limits) -> Result<(), Vec<Invalid>> {
        let content = check_content_bytes(self.content.as_str(), limits.content_bytes);
        let tags = check_tag_count(self.tags.as_slice().len(), limits.tags);
        let metadata = self.metadata.check_bytes(limits.metadata_bytes);
        let checks = [("content", content), ("tags", tags), ("metadata", metadata)];
        let invalids: Vec<Invalid> =
            checks.into_iter().filter_map(|(name, check)| check.err().map(|invalid| invalid.under(name))).collect();
        if invalids.is_empty() { Ok(()) } else { Err(invalids) }
    }

    /// `now` is the database's clock.
    pub fn check_expiry(&self, now: OffsetDateTime) -> Result<(), Invalid> {
        match self.expires_at {
            Some(expiry) if expiry <= now => {
                Err(Invalid::new(Code::InvalidTimestamp, "must be in the future").under("expires_at"))
            }
            _ => Ok(()),
        }
    }
}

impl<'r> FromRow<'r, PgRow> for MemoryFields {
    fn from_row(row: &'r PgRow) -> sqlx::Result<Self> {
        let source = match (row.try_get("source_type")?, row.try_get("source_id")?) {
            (Some(kind), Some(id)) => Some(Source { kind, id, seq: row.try_get("source_seq")? }),
            _ => None,
        };
        let metadata: serde_json::Value = row.try_get("metadata")?;
        Ok(Self {
            content: row.try_get("content")?,
            kind: row.try_get("kind")?,
            key: row.try_get("key")?,
            tags: Tags(row.try_get("tags")?),
            importance: row.try_get("importance")?,
            metadata: metadata.try_into().map_err(|error: &str| sqlx::Error::Decode(error.into()))?,
            speaker: row.try_get("speaker")?,
            source,
            occurred_at: row.try_get("occurred_at")?,
            expires_at: row.try_get("expires_at")?,
        })
    }
}
