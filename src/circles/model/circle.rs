//! A circle, and what may be said about one.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::agents::MetadataPatch;
use crate::auth::Role;
use crate::config::Limits;
use crate::error::{Invalid, Result};
use crate::http::{ETag, FromBody};
use crate::ids::{CircleUid, ExternalId, ScopeId};
use crate::json::{Fields, FromJson, Json};
use crate::memories::SharedIn;
use crate::words::{Metadata, Name, Prose};

/// A circle.
#[derive(Debug, Clone, Serialize, ToSchema, sqlx::FromRow)]
pub struct Circle {
    #[sqlx(rename = "circle_id")]
    pub id: ExternalId,
    pub name: Name,
    /// What it is for.
    pub purpose: Option<Prose>,
    #[sqlx(try_from = "serde_json::Value")]
    pub metadata: Metadata,
    /// The role of the acting agent; null for a trusted back end.
    pub role: Option<Role>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    #[serde(skip)]
    pub circle_uid: CircleUid,
    #[serde(skip)]
    pub content_scope: ScopeId,
    #[serde(skip)]
    pub board_scope: ScopeId,
    #[serde(skip)]
    pub version: i32,
}

impl Circle {
    pub fn etag(&self) -> ETag {
        ETag { incarnation: self.circle_uid.uuid(), version: self.version }
    }

    pub fn shared_in(&self) -> SharedIn {
        SharedIn { circle: self.circle_uid, content: self.content_scope }
    }

    pub fn profile(&self) -> CircleProfile {
        CircleProfile { name: self.name.clone(), purpose: self.purpose.clone(), metadata: self.metadata.clone() }
    }
}

/// What is said about a circle.
#[derive(Debug, Clone, PartialEq)]
pub struct CircleProfile {
    pub name: Name,
    pub purpose: Option<Prose>,
    pub metadata: Metadata,
}

/// A circle as it is to be.
#[derive(Debug, Clone, ToSchema)]
pub struct CircleDraft {
    #[schema(inline)]
    pub name: Name,
    pub purpose: Option<Prose>,
    #[schema(required = false)]
    pub metadata: Metadata,
    /// Who is to own it. An acting agent owns what it creates, and can name itself only.
    pub owner: Option<ExternalId>,
}

impl CircleDraft {
    pub fn profile(&self) -> CircleProfile {
        CircleProfile { name: self.name.clone(), purpose: self.purpose.clone(), metadata: self.metadata.clone() }
    }
}

impl FromJson for CircleDraft {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let name = fields.required("name");
        let purpose = fields.nullable("purpose");
        let metadata = fields.optional("metadata").unwrap_or_default();
        let owner = fields.nullable("owner");
        fields.finish(|| Some(Self { name: name?, purpose, metadata, owner }))
    }
}

impl FromBody for CircleDraft {
    fn check(&self, limits: &Limits) -> Result<(), Vec<Invalid>> {
        Ok(self.metadata.check_bytes(limits.metadata_bytes).map_err(|invalid| invalid.under("metadata"))?)
    }
}

/// A merge patch: absent fields stay, null clears; the name cannot be cleared.
#[derive(Debug, Clone, ToSchema)]
pub struct CirclePatch {
    #[schema(value_type = Name, required = false)]
    name: Option<Name>,
    #[schema(value_type = Option<Prose>)]
    purpose: Option<Option<Prose>>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<MetadataPatch>,
}

impl CirclePatch {
    pub fn apply(&self, before: &CircleProfile) -> Result<CircleProfile> {
        let metadata = match &self.metadata {
            Some(patch) => patch.apply(&before.metadata)?,
            None => before.metadata.clone(),
        };
        Ok(CircleProfile {
            name: self.name.clone().unwrap_or_else(|| before.name.clone()),
            purpose: self.purpose.clone().unwrap_or_else(|| before.purpose.clone()),
            metadata,
        })
    }
}

impl FromJson for CirclePatch {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let name = fields.optional("name");
        let purpose = fields.patch("purpose");
        let metadata = MetadataPatch::read(&mut fields, "metadata");
        fields.finish(|| Some(Self { name, purpose, metadata }))
    }
}

impl FromBody for CirclePatch {
    const IS_PATCH: bool = true;
}

/// A circle as an operator sees it.
#[derive(Debug, sqlx::FromRow)]
pub struct CircleOverview {
    pub circle_id: ExternalId,
    pub name: Name,
    pub members: i64,
    /// Their names; none: it is left to those who may manage circles.
    pub owners: Vec<String>,
    pub created_at: OffsetDateTime,
}

/// What went with a circle. The memories themselves stay with the agents that remember them.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CircleReceipt {
    pub members: u64,
    /// Memories that were shared in it.
    pub shared: u64,
    pub tasks: u64,
}
