//! Identifiers as types, parsed once at the edge. `TenantId` cannot be deserialised:
//! a request never names a tenant, only authentication and the operator do.

use std::fmt;
use std::str::FromStr;

use rand::RngExt;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::error::{Code, Invalid};

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, sqlx::Type, ToSchema)]
        #[serde(transparent)]
        #[sqlx(transparent, no_pg_array)]
        pub struct $name(Uuid);

        impl $name {
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(out)
            }
        }

        impl sqlx::postgres::PgHasArrayType for $name {
            fn array_type_info() -> sqlx::postgres::PgTypeInfo {
                <Uuid as sqlx::postgres::PgHasArrayType>::array_type_info()
            }
        }
    )*};
}

uuid_ids! {
    /// A customer: the outermost border of everything.
    TenantId,
    /// One incarnation of an agent; also the id of its private scope. Recreating `ada` makes a new one.
    AgentUid,
    /// One incarnation of a circle.
    CircleUid,
    /// A task, numbered in the order of time (UUIDv7).
    TaskId,
    /// What a memory is visible in: an agent's private scope or a circle's content.
    ScopeId,
    /// A memory, numbered in the order of time (UUIDv7).
    MemoryId,
    /// An API key's public part, the same in the key and in the API.
    KeyId,
    /// A key that signs tokens: the `kid` in their headers.
    SigningKeyId,
    /// What is done without being asked.
    JobId,
    /// One time that a job was due, numbered in the order of time (UUIDv7).
    RunId,
    /// An instance of the server, for as long as it runs.
    WorkerId,
    /// A random mark, new at every change of a scope. Equality is all that it tells.
    Tag,
}

impl TenantId {
    /// The operator's own: platform keys belong to it, and nothing else does.
    pub const OPERATOR: Self = Self(Uuid::max());

    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl Default for TenantId {
    fn default() -> Self {
        Self::new()
    }
}

impl AgentUid {
    /// No agent at all.
    pub const NIL: Self = Self(Uuid::nil());

    pub fn random() -> Self {
        Self(random_uuid())
    }

    pub fn scope(self) -> ScopeId {
        ScopeId(self.0)
    }
}

impl CircleUid {
    pub fn random() -> Self {
        Self(random_uuid())
    }
}

impl TaskId {
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Reads the id of a path; what is not a UUID is an invalid id, not a missing task.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        Uuid::from_str(raw).map(Self).map_err(|_| Invalid::new(Code::InvalidId, "must be a UUID"))
    }
}

impl Default for TaskId {
    fn default() -> Self {
        Self::new()
    }
}

impl ScopeId {
    /// No scope at all.
    pub const NIL: Self = Self(Uuid::nil());

    pub fn random() -> Self {
        Self(random_uuid())
    }
}

impl Tag {
    pub fn random() -> Self {
        Self(random_uuid())
    }
}

impl MemoryId {
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Reads the id of a path; what is not a UUID is an invalid id, not a missing memory.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        Uuid::from_str(raw).map(Self).map_err(|_| Invalid::new(Code::InvalidId, "must be a UUID"))
    }
}

impl Default for MemoryId {
    fn default() -> Self {
        Self::new()
    }
}

impl KeyId {
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    pub fn parse(raw: &str) -> Option<Self> {
        Uuid::from_str(raw).ok().map(Self)
    }
}

impl Default for KeyId {
    fn default() -> Self {
        Self::new()
    }
}

impl SigningKeyId {
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    pub fn parse(raw: &str) -> Option<Self> {
        Uuid::from_str(raw).ok().map(Self)
    }
}

impl Default for SigningKeyId {
    fn default() -> Self {
        Self::new()
    }
}

impl JobId {
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Reads the id of a path; what is not a UUID is an invalid id, not a missing job.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        Uuid::from_str(raw).map(Self).map_err(|_| Invalid::new(Code::InvalidId, "must be a UUID"))
    }
}

impl Default for JobId {
    fn default() -> Self {
        Self::new()
    }
}

impl RunId {
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Reads the id of a path; what is not a UUID is an invalid id, not a missing run.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        Uuid::from_str(raw).map(Self).map_err(|_| Invalid::new(Code::InvalidId, "must be a UUID"))
    }
}

impl Default for RunId {
    fn default() -> Self {
        Self::new()
    }
}

impl WorkerId {
    pub fn random() -> Self {
        Self(random_uuid())
    }
}

fn random_uuid() -> Uuid {
    uuid::Builder::from_random_bytes(rand::rng().random()).into_uuid()
}

/// The name a caller gives to an agent or a circle: `[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, sqlx::Type, ToSchema)]
#[serde(transparent)]
#[sqlx(transparent)]
#[schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$", example = "ada")]
pub struct ExternalId(String);

impl ExternalId {
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        let mut bytes = raw.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
        let rest = bytes.all(|b| b.is_ascii_alphanumeric() || b"._:@-".contains(&b));
        if first && rest && raw.len() <= 128 {
            return Ok(Self(raw.to_owned()));
        }
        Err(Invalid::new(
            Code::InvalidId,
            "must start with a letter or digit and hold at most 128 of A-Z a-z 0-9 . _ : @ -",
        ))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExternalId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}
