//! Members of a circle, and how requests name them.

use std::collections::HashSet;

use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::Role;
use crate::error::{Code, Invalid, Result};
use crate::http::{ETag, FromBody};
use crate::ids::{AgentUid, ExternalId};
use crate::json::{Fields, FromJson, Json};

/// Circles that an agent may be in: what the gate reads at every call, and a stamp is made of.
pub const MOST_CIRCLES: usize = 64;
/// Members that a circle may have.
pub const MOST_MEMBERS: usize = 10_000;

/// A member of a circle.
#[derive(Debug, Clone, Serialize, ToSchema, sqlx::FromRow)]
pub struct Member {
    pub agent_id: ExternalId,
    pub role: Role,
    #[serde(with = "time::serde::rfc3339")]
    pub joined_at: OffsetDateTime,
    #[serde(skip)]
    pub agent_uid: AgentUid,
}

impl Member {
    /// Of this membership: an agent that joins again is another member.
    pub fn etag(&self) -> ETag {
        let joined = self.joined_at.unix_timestamp_nanos() as u128;
        ETag { incarnation: Uuid::from_u128(self.agent_uid.uuid().as_u128() ^ joined), version: self.role as i32 }
    }
}

/// The role that a member is to have.
#[derive(Debug, Clone, Copy, ToSchema)]
pub struct MemberDraft {
    pub role: Role,
}

impl FromJson for MemberDraft {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let role = fields.required("role");
        fields.finish(|| Some(Self { role: role? }))
    }
}

impl FromBody for MemberDraft {}

/// An agent, and the role that it is to have.
#[derive(Debug, Clone, ToSchema)]
pub struct NewMember {
    pub agent_id: ExternalId,
    pub role: Role,
}

impl FromJson for NewMember {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let agent_id = fields.required("agent_id");
        let role = fields.required("role");
        fields.finish(|| Some(Self { agent_id: agent_id?, role: role? }))
    }
}

/// 1 to 1,000 members, added or changed all or none; nobody is removed.
#[derive(Debug, Clone, ToSchema)]
pub struct NewMembers {
    #[schema(min_items = 1, max_items = 1000)]
    pub members: Vec<NewMember>,
}

impl NewMembers {
    const MAX: usize = 1_000;
}

impl FromJson for NewMembers {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let members = match fields.take("members") {
            Some(Json::Array(items)) if items.len() > Self::MAX => {
                let detail = format!("may have {} members, not {}", Self::MAX, items.len());
                Err(Invalid::new(Code::TooManyItems, detail).into())
            }
            Some(Json::Array(items)) if items.is_empty() => {
                Err(Invalid::new(Code::FieldEmpty, "must not be empty").into())
            }
            Some(items) => Vec::<NewMember>::from_json(items),
            None => Err(Invalid::new(Code::FieldMissing, "is required").into()),
        };
        let members = members.map_err(|invalids| fields.complain("members", invalids)).ok();
        let members = fields.finish(|| members)?;
        distinct(&members)?;
        Ok(Self { members })
    }
}

impl FromBody for NewMembers {}

fn distinct(members: &[NewMember]) -> Result<(), Invalid> {
    let mut seen = HashSet::new();
    match members.iter().position(|member| !seen.insert(&member.agent_id)) {
        None => Ok(()),
        Some(index) => {
            let invalid = Invalid::new(Code::DuplicateItem, "another item of this list names the same agent");
            Err(invalid.under("agent_id").under(index).under("members"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{MAX_DEPTH, parse};

    fn read(text: &str) -> Result<NewMembers, Vec<Invalid>> {
        NewMembers::from_json(&parse(text.as_bytes(), MAX_DEPTH).expect("JSON"))
    }

    #[test]
    fn an_agent_is_named_once() {
        let twice = r#"{"members":[{"agent_id":"ada","role":"owner"},{"agent_id":"ada","role":"reader"}]}"#;
        let refused = read(twice).expect_err("twice");
        assert_eq!((refused[0].pointer.as_str(), refused[0].code), ("/members/1/agent_id", Code::DuplicateItem));
        assert_eq!(read(r#"{"members":[]}"#).expect_err("empty")[0].code, Code::FieldEmpty);
        assert!(read(&twice.replacen("ada", "bob", 1)).is_ok());
    }
}
