//! Keys and tokens as requests ask for them and answers show them.

use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::auth::token::MAX_LIFETIME_SECS;
use crate::auth::{Permission, Permissions, PlainKey};
use crate::error::{Code, Invalid};
use crate::http::FromBody;
use crate::ids::{ExternalId, KeyId, TenantId};
use crate::json::{Fields, FromJson, Json, whole_number};
use crate::words::Name;

/// What a new key shall be.
#[derive(Debug, Clone, ToSchema)]
pub struct NewKey {
    pub name: Name,
    /// At least one, and none that the caller lacks.
    #[schema(value_type = Vec<Permission>, min_items = 1, example = json!(["memories:read"]))]
    pub scopes: Permissions,
    /// The agent it acts as; none: any agent of the tenant.
    pub agent_id: Option<ExternalId>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<OffsetDateTime>,
}

impl FromJson for NewKey {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let name = fields.required("name");
        let scopes = fields.required::<Permissions>("scopes");
        let agent_id = fields.nullable("agent_id");
        let expires_at = fields.nullable("expires_at");
        fields.finish(|| Some(Self { name: name?, scopes: scopes?, agent_id, expires_at }))
    }
}

impl FromBody for NewKey {}

impl NewKey {
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

impl FromJson for Permissions {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let scopes = Vec::<Permission>::from_json(json)?;
        if scopes.is_empty() {
            return Err(Invalid::new(Code::FieldEmpty, "must name a scope").into());
        }
        Ok(scopes.into_iter().collect())
    }
}

/// A key just issued; the only moment at which it can be read.
pub struct Issued {
    pub tenant: TenantId,
    pub key: PlainKey,
}

/// A key as its owner sees it.
#[derive(Debug, Clone, Serialize, ToSchema, sqlx::FromRow)]
pub struct Key {
    #[sqlx(rename = "key_id")]
    pub id: KeyId,
    pub name: String,
    pub scopes: Vec<String>,
    /// The agent it acts as; null: any agent.
    pub agent_id: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
    /// To within five minutes.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_used_at: Option<OffsetDateTime>,
    /// The key that was issued in its place.
    pub replaced_by: Option<KeyId>,
}

/// A new key. `key` is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct IssuedKey {
    #[serde(flatten)]
    pub about: Key,
    /// Null where the answer is a replay.
    pub key: Option<String>,
}

/// How long a rotated key stays valid beside its successor.
#[derive(Debug, Clone, Copy, ToSchema)]
pub struct Rotation {
    /// 0 to 604800 (a week); an hour where it is left out.
    #[schema(minimum = 0, maximum = 604_800, required = false)]
    pub overlap_secs: i64,
}

impl Rotation {
    const DEFAULT_OVERLAP_SECS: i64 = 3_600;
    const MAX_OVERLAP_SECS: i64 = 604_800;
}

impl FromJson for Rotation {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let overlap = read_seconds(&mut fields, "overlap_secs", 0, Self::MAX_OVERLAP_SECS);
        fields.finish(|| Some(Self { overlap_secs: overlap.unwrap_or(Self::DEFAULT_OVERLAP_SECS) }))
    }
}

impl FromBody for Rotation {}

/// What a token shall be: at most what its key is.
#[derive(Debug, Clone, ToSchema)]
pub struct TokenRequest {
    /// Left out: all that the key has.
    #[schema(value_type = Option<Vec<Permission>>, min_items = 1)]
    pub scopes: Option<Permissions>,
    /// Binds the token to this agent.
    pub agent_id: Option<ExternalId>,
    /// 1 to 900, which is the default.
    #[schema(minimum = 1, maximum = 900, required = false)]
    pub ttl_secs: i64,
}

impl FromJson for TokenRequest {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let scopes = fields.nullable("scopes");
        let agent_id = fields.nullable("agent_id");
        let ttl = read_seconds(&mut fields, "ttl_secs", 1, MAX_LIFETIME_SECS);
        fields.finish(|| Some(Self { scopes, agent_id, ttl_secs: ttl.unwrap_or(MAX_LIFETIME_SECS) }))
    }
}

impl FromBody for TokenRequest {}

fn read_seconds(fields: &mut Fields<'_, '_>, name: &str, least: i64, most: i64) -> Option<i64> {
    let json = fields.take(name)?;
    whole_number(json, least, most).map_err(|invalid| fields.complain(name, invalid)).ok()
}

/// A token, in the words of RFC 6749.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccessToken {
    pub access_token: String,
    pub token_type: &'static str,
    /// Seconds.
    pub expires_in: i64,
    pub scopes: Vec<&'static str>,
}
