//! A memory, and how requests describe new ones.

use std::collections::HashSet;

use serde::Serialize;
use sqlx::FromRow;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::config::Limits;
use crate::error::{Code, Error, Invalid, Result};
use crate::http::{ETag, FromBody};
use crate::ids::{AgentUid, ExternalId, MemoryId, ScopeId};
use crate::json::{Fields, FromJson, Json};
use crate::memories::fields::MemoryFields;

/// A memory.
#[derive(Debug, Clone, Serialize, ToSchema, FromRow)]
pub struct Memory {
    #[sqlx(rename = "memory_id")]
    pub id: MemoryId,
    /// Who remembers it.
    pub agent_id: ExternalId,
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub fields: MemoryFields,
    /// The circles it is shared with, as far as the caller may see them. Sharing says nothing new, so it leaves
    /// `version` as it is.
    #[schema(value_type = Vec<ExternalId>)]
    pub circles: Vec<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    pub version: i32,
    #[serde(skip)]
    pub agent_uid: AgentUid,
}

impl Memory {
    pub fn etag(&self) -> ETag {
        ETag { incarnation: self.id.uuid(), version: self.version }
    }
}

/// How far a caller sees: everything of the tenant, or one agent's own and what its circles share.
#[derive(Debug, Clone)]
pub struct Reach {
    pub acting: Option<AgentUid>,
    /// The circles that may be named; none: all.
    pub circles: Option<Vec<ScopeId>>,
}

impl Reach {
    /// A replay is for those who might have sent the first: nobody learns from another's key that there was a memory.
    pub fn check_replay(&self, author: Uuid) -> Result<()> {
        let own = self.acting.is_none_or(|agent| agent.uuid() == author);
        if own { Ok(()) } else { Err(Error::not_found("memory")) }
    }
}

/// What to remember.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct NewMemory {
    #[serde(flatten)]
    pub fields: MemoryFields,
    /// Circles to share it with, in which the agent is editor or owner. Of an existing key: these and no others; left
    /// out, they stay.
    #[schema(value_type = Option<Vec<ExternalId>>, max_items = 64)]
    pub circles: Option<CircleIds>,
}

/// At most 64 circles, each once.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub struct CircleIds(Vec<ExternalId>);

impl CircleIds {
    const MAX: usize = 64;

    pub fn as_slice(&self) -> &[ExternalId] {
        &self.0
    }
}

impl FromJson for CircleIds {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        if let Json::Array(items) = json
            && items.len() > Self::MAX
        {
            let detail = format!("may name {} circles, not {}", Self::MAX, items.len());
            return Err(Invalid::new(Code::TooManyItems, detail).into());
        }
        let ids = Vec::<ExternalId>::from_json(json)?;
        let mut seen = HashSet::new();
        match ids.iter().position(|id| !seen.insert(id)) {
            Some(index) => Err(Invalid::new(Code::DuplicateItem, "is named twice").under(index).into()),
            None => Ok(Self(ids)),
        }
    }
}

impl NewMemory {
    pub fn circles(&self) -> impl Iterator<Item = &ExternalId> {
        self.circles.iter().flat_map(CircleIds::as_slice)
    }
}

impl FromJson for NewMemory {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let memory = MemoryFields::read(&mut fields);
        let circles = fields.nullable("circles");
        fields.finish(|| Some(Self { fields: memory?, circles }))
    }
}

impl FromBody for NewMemory {
    fn check(&self, limits: &Limits) -> Result<(), Vec<Invalid>> {
        self.fields.check(limits)
    }
}

/// 1 to 100 memories, remembered all or none.
#[derive(Debug, Clone, ToSchema)]
pub struct NewMemories {
    #[schema(min_items = 1, max_items = 100)]
    pub memories: Vec<NewMemory>,
}

impl NewMemories {
    const MAX: usize = 100;
}

impl FromJson for NewMemories {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let memories = match fields.take("memories") {
            Some(Json::Array(items)) if items.len() > Self::MAX => {
                fields.complain("memories", too_many(items.len(), Self::MAX));
                None
            }
            Some(Json::Array(items)) if items.is_empty() => {
                fields.complain("memories", Invalid::new(Code::FieldEmpty, "must not be empty"));
                None
            }
            Some(items) => {
                Vec::<NewMemory>::from_json(items).map_err(|invalids| fields.complain("memories", invalids)).ok()
            }
            None => {
                fields.complain("memories", Invalid::new(Code::FieldMissing, "is required"));
                None
            }
        };
        let memories = fields.finish(|| memories)?;
        distinct_keys(&memories)?;
        Ok(Self { memories })
    }
}

impl FromBody for NewMemories {
    /// Each memory stands two levels deeper than a single one.
    const MAX_DEPTH: usize = crate::json::MAX_DEPTH + 2;

    fn max_bytes(limits: &Limits) -> usize {
        limits.batch_body_bytes
    }

    fn check(&self, limits: &Limits) -> Result<(), Vec<Invalid>> {
        if self.memories.len() > limits.batch_memories {
            return Err(too_many(self.memories.len(), limits.batch_memories).under("memories").into());
        }
        let under = |index: usize| move |invalid: Invalid| invalid.under(index).under("memories");
        let checks = self.memories.iter().enumerate().filter_map(|(index, memory)| {
            let invalids = memory.fields.check(limits).err()?;
            Some(invalids.into_iter().map(under(index)))
        });
        let invalids: Vec<Invalid> = checks.flatten().collect();
        if invalids.is_empty() { Ok(()) } else { Err(invalids) }
    }
}

fn too_many(count: usize, most: usize) -> Invalid {
    Invalid::new(Code::BatchTooLarge, format!("may have {most} items, not {count}"))
}

fn distinct_keys(memories: &[NewMemory]) -> Result<(), Invalid> {
    let mut seen = HashSet::new();
    for (index, memory) in memories.iter().enumerate() {
        if let Some(key) = &memory.fields.key
            && !seen.insert(key)
        {
            let invalid = Invalid::new(Code::DuplicateItem, "another memory of this batch has the same key");
            return Err(invalid.under("key").under(index).under("memories"));
        }
    }
    Ok(())
}

/// Something that only the author may do, asked for by an agent that sees the memory.
pub fn check_author(memory: &Memory, reach: &Reach) -> Result<()> {
    match reach.acting {
        Some(agent) if agent != memory.agent_uid => {
            Err(Error::refused(Code::NotAuthor, "only the agent that remembers it may do this"))
        }
        _ => Ok(()),
    }
}
