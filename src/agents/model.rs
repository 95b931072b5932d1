//! What an agent is, and how requests describe one.

use std::collections::BTreeMap;

use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::config::Limits;
use crate::error::{Invalid, Result};
use crate::http::{ETag, FromBody};
use crate::ids::{AgentUid, ExternalId};
use crate::json::{Fields, FromJson, Json};
use crate::words::{Metadata, Name};

/// An agent.
#[derive(Debug, Clone, Serialize, ToSchema, sqlx::FromRow)]
pub struct Agent {
    #[sqlx(rename = "agent_id")]
    pub id: ExternalId,
    pub name: Option<Name>,
    #[sqlx(try_from = "serde_json::Value")]
    pub metadata: Metadata,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    #[serde(skip)]
    pub agent_uid: AgentUid,
    #[serde(skip)]
    pub version: i32,
}

impl Agent {
    pub fn etag(&self) -> ETag {
        ETag { incarnation: self.agent_uid.uuid(), version: self.version }
    }
}

/// What a caller may say about an agent.
#[derive(Debug, Clone, Default, PartialEq, ToSchema)]
pub struct AgentProfile {
    pub name: Option<Name>,
    #[schema(required = false)]
    pub metadata: Metadata,
}

impl FromJson for AgentProfile {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let name = fields.nullable("name");
        let metadata = fields.optional("metadata").unwrap_or_default();
        fields.finish(|| Some(Self { name, metadata }))
    }
}

impl FromBody for AgentProfile {
    fn check(&self, limits: &Limits) -> Result<(), Vec<Invalid>> {
        Ok(self.metadata.check_bytes(limits.metadata_bytes).map_err(|invalid| invalid.under("metadata"))?)
    }
}

/// A merge patch: absent fields stay, null clears.
#[derive(Debug, Clone, ToSchema)]
pub struct AgentPatch {
    #[schema(value_type = Option<Name>)]
    name: Option<Option<Name>>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<MetadataPatch>,
}

/// Kept as JSON until the metadata it patches is known.
#[derive(Debug, Clone)]
pub enum MetadataPatch {
    Clear,
    Merge(Json<'static>),
}

impl MetadataPatch {
    pub fn read(fields: &mut Fields<'_, '_>, name: &str) -> Option<Self> {
        let json = fields.take(name)?;
        if matches!(json, Json::Null) {
            return Some(Self::Clear);
        }
        // Whatever is wrong with the patch by itself is said with the other complaints.
        match Metadata::default().merged(json) {
            Ok(_) => Some(Self::Merge(json.to_static())),
            Err(invalids) => {
                fields.complain(name, invalids);
                None
            }
        }
    }

    pub fn apply(&self, before: &Metadata) -> Result<Metadata, Vec<Invalid>> {
        match self {
            Self::Clear => Ok(Metadata::default()),
            Self::Merge(patch) => before
                .merged(patch)
                .map_err(|invalids| invalids.into_iter().map(|invalid| invalid.under("metadata")).collect()),
        }
    }
}

impl AgentPatch {
    pub fn apply(&self, before: &AgentProfile) -> Result<AgentProfile> {
        let metadata = match &self.metadata {
            Some(patch) => patch.apply(&before.metadata)?,
            None => before.metadata.clone(),
        };
        let name = self.name.clone().unwrap_or_else(|| before.name.clone());
        Ok(AgentProfile { name, metadata })
    }
}

impl FromJson for AgentPatch {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let name = fields.patch("name");
        let metadata = MetadataPatch::read(&mut fields, "metadata");
        fields.finish(|| Some(Self { name, metadata }))
    }
}

impl FromBody for AgentPatch {
    const IS_PATCH: bool = true;
}

/// How much an agent remembers, and recalls.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentStats {
    /// Memories that have not expired.
    pub memories: i64,
    /// The same by kind; kinds without a memory are left out.
    pub memories_by_kind: BTreeMap<String, i64>,
    /// Bytes of their contents.
    pub bytes: i64,
    /// Circles it is a member of.
    pub circles: i64,
    /// Recalls of the last 30 days, today included, cached answers among them; counted within seconds.
    pub recalls: i64,
    /// Of those, the share that the cache answered; null before the first.
    #[schema(minimum = 0, maximum = 1)]
    pub hit_rate: Option<f64>,
}
