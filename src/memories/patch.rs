//! Merge patches of a memory (RFC 7396): absent fields stay, null clears.

use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::agents::MetadataPatch;
use crate::error::{Code, Invalid, Result};
use crate::http::FromBody;
use crate::ids::ExternalId;
use crate::json::{Fields, FromJson, Json};
use crate::memories::fields::{Importance, Kind, MemoryContent, MemoryFields, MemoryKey, ShortText, Source, Tags};
use crate::memories::model::CircleIds;

/// What to change in a memory. `null` sets a field back to its default; `content` cannot be cleared.
#[derive(Debug, Clone, ToSchema)]
pub struct MemoryPatch {
    #[schema(value_type = MemoryContent, required = false)]
    content: Option<MemoryContent>,
    #[schema(value_type = Option<Kind>)]
    kind: Option<Option<Kind>>,
    #[schema(value_type = Option<MemoryKey>)]
    key: Option<Option<MemoryKey>>,
    #[schema(value_type = Option<Tags>)]
    tags: Option<Option<Tags>>,
    #[schema(value_type = Option<Importance>)]
    importance: Option<Option<Importance>>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<MetadataPatch>,
    #[schema(value_type = Option<ShortText>)]
    speaker: Option<Option<ShortText>>,
    #[schema(value_type = Option<Source>)]
    source: Option<Option<Source>>,
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<Option<OffsetDateTime>>,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Option<OffsetDateTime>>,
    /// The circles it is then shared with, and no others.
    #[schema(value_type = Option<Vec<ExternalId>>, max_items = 64)]
    circles: Option<Option<CircleIds>>,
}

impl MemoryPatch {
    pub fn apply(&self, before: &MemoryFields) -> Result<MemoryFields> {
        let metadata = match &self.metadata {
            Some(patch) => patch.apply(&before.metadata)?,
            None => before.metadata.clone(),
        };
        Ok(MemoryFields {
            content: self.content.clone().unwrap_or_else(|| before.content.clone()),
            kind: patched(&self.kind, &before.kind),
            key: self.key.clone().unwrap_or_else(|| before.key.clone()),
            tags: patched(&self.tags, &before.tags),
            importance: patched(&self.importance, &before.importance),
            metadata,
            speaker: self.speaker.clone().unwrap_or_else(|| before.speaker.clone()),
            source: self.source.clone().unwrap_or_else(|| before.source.clone()),
            occurred_at: self.occurred_at.unwrap_or(before.occurred_at),
            expires_at: self.expires_at.unwrap_or(before.expires_at),
        })
    }

    /// The circles that it is to be shared with; none: with those that it is.
    pub fn circles(&self) -> Option<&[ExternalId]> {
        Some(self.circles.as_ref()?.as_ref().map_or(&[], CircleIds::as_slice))
    }

    /// `now` is the database's clock.
    pub fn check_expiry(&self, now: OffsetDateTime) -> Result<(), Invalid> {
        match self.expires_at.flatten() {
            Some(expiry) if expiry <= now => {
                Err(Invalid::new(Code::InvalidTimestamp, "must be in the future").under("expires_at"))
            }
            _ => Ok(()),
        }
    }
}

/// A field that has a default: null means that one.
fn patched<T: Clone + Default>(patch: &Option<Option<T>>, before: &T) -> T {
    match patch {
        None => before.clone(),
        Some(value) => value.clone().unwrap_or_default(),
    }
}

impl FromJson for MemoryPatch {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let patch = Self {
            content: fields.optional("content"),
            kind: fields.patch("kind"),
            key: fields.patch("key"),
            tags: fields.patch("tags"),
            importance: fields.patch("importance"),
            metadata: MetadataPatch::read(&mut fields, "metadata"),
            speaker: fields.patch("speaker"),
            source: fields.patch("source"),
            occurred_at: fields.patch("occurred_at"),
            expires_at: fields.patch("expires_at"),
            circles: fields.patch("circles"),
        };
        fields.finish(|| Some(patch))
    }
}

impl FromBody for MemoryPatch {
    const IS_PATCH: bool = true;
}
