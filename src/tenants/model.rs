//! What a tenant is to its operator and to itself.

use serde::Serialize;
use sqlx::FromRow;
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use crate::error::{Code, Error, Invalid, Result};
use crate::http::{ETag, FromBody};
use crate::ids::TenantId;
use crate::json::{Fields, FromJson, Json};
use crate::tenants::quotas::{QuotaPatch, Quotas};
use crate::usage::DayUse;
use crate::words::Name;

/// A tenant, as its operator sees it.
#[derive(Debug, Clone, Serialize, ToSchema, FromRow)]
pub struct Tenant {
    #[sqlx(rename = "tenant_id")]
    pub id: TenantId,
    pub name: String,
    pub status: Status,
    /// The embedding model, its revision and its dimensions; for good.
    #[sqlx(rename = "embedding_pin")]
    pub embedding_model: String,
    #[sqlx(flatten)]
    pub quotas: Quotas,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    #[serde(skip)]
    pub version: i32,
}

impl Tenant {
    pub fn etag(&self) -> ETag {
        ETag { incarnation: self.id.uuid(), version: self.version }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Status {
    Active,
    /// Every call is refused; nothing is lost.
    Suspended,
    /// Being deleted, for good.
    Erasing,
}

impl FromJson for Status {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        match crate::json::text(json)? {
            "active" => Ok(Self::Active),
            "suspended" => Ok(Self::Suspended),
            other => {
                let detail = format!("must be active or suspended, not {other:?}; to erase a tenant, DELETE it");
                Err(Invalid::new(Code::InvalidValue, detail).into())
            }
        }
    }
}

/// A tenant to be.
#[derive(Debug, Clone, ToSchema)]
pub struct NewTenant {
    pub name: Name,
    #[schema(value_type = Option<Quotas>)]
    pub quotas: Quotas,
}

impl FromJson for NewTenant {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let name = fields.required("name");
        let quotas = fields.nullable("quotas").unwrap_or_default();
        fields.finish(|| Some(Self { name: name?, quotas }))
    }
}

impl FromBody for NewTenant {}

/// What the operator changes of a tenant: a merge patch.
#[derive(Debug, Clone, ToSchema)]
pub struct TenantPatch {
    #[schema(schema_with = patchable_status, required = false)]
    pub status: Option<Status>,
    #[schema(value_type = Option<QuotaPatch>)]
    quotas: Option<Option<QuotaPatch>>,
}

/// Erasing is not a patch.
fn patchable_status() -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["active", "suspended"])).build()
}

impl TenantPatch {
    pub fn status(status: Status) -> Self {
        Self { status: Some(status), quotas: None }
    }

    pub fn of_quotas(quotas: QuotaPatch) -> Self {
        Self { status: None, quotas: Some(Some(quotas)) }
    }

    pub fn quotas(&self, before: Quotas) -> Quotas {
        match self.quotas {
            None => before,
            Some(None) => Quotas::default(),
            Some(Some(patch)) => patch.apply(before),
        }
    }
}

impl FromJson for TenantPatch {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let status = fields.optional("status");
        let quotas = fields.patch("quotas");
        fields.finish(|| Some(Self { status, quotas }))
    }
}

impl FromBody for TenantPatch {
    const IS_PATCH: bool = true;
}

/// What a tenant decides for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, FromRow)]
pub struct Settings {
    /// Whether remembering for an unknown agent creates it.
    pub auto_create_agents: bool,
    /// Whether the text of frequent recalls is kept for a day, sealed, for warm-ups to ask again.
    pub keep_queries: bool,
    /// Whether what is asked most is computed anew after a change, before somebody asks.
    pub rewarm: bool,
    /// Tokens issued before this moment are refused.
    #[serde(with = "time::serde::rfc3339::option")]
    pub tokens_valid_from: Option<OffsetDateTime>,
}

/// A merge patch of the settings: null sets back to the default.
#[derive(Debug, Clone, ToSchema)]
pub struct SettingsPatch {
    #[schema(value_type = Option<bool>)]
    auto_create_agents: Option<Option<bool>>,
    #[schema(value_type = Option<bool>)]
    keep_queries: Option<Option<bool>>,
    #[schema(value_type = Option<bool>)]
    rewarm: Option<Option<bool>>,
    #[schema(value_type = Option<String>, format = DateTime)]
    tokens_valid_from: Option<Option<OffsetDateTime>>,
}

impl SettingsPatch {
    pub fn apply(&self, before: &Settings) -> Settings {
        Settings {
            auto_create_agents: wanted(self.auto_create_agents, before.auto_create_agents, true),
            keep_queries: wanted(self.keep_queries, before.keep_queries, false),
            rewarm: wanted(self.rewarm, before.rewarm, true),
            tokens_valid_from: self.tokens_valid_from.unwrap_or(before.tokens_valid_from),
        }
    }
}

/// What a merge patch makes of a switch: null sets it back to the default.
fn wanted(patch: Option<Option<bool>>, before: bool, default: bool) -> bool {
    patch.map_or(before, |switch| switch.unwrap_or(default))
}

impl FromJson for SettingsPatch {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let auto_create_agents = fields.patch("auto_create_agents");
        let (keep_queries, rewarm) = (fields.patch("keep_queries"), fields.patch("rewarm"));
        let tokens_valid_from = fields.patch("tokens_valid_from");
        fields.finish(|| Some(Self { auto_create_agents, keep_queries, rewarm, tokens_valid_from }))
    }
}

impl FromBody for SettingsPatch {
    const IS_PATCH: bool = true;
}

/// What a tenant stores now; expired memories count until they are purged.
#[derive(Debug, Clone, Copy, Serialize, ToSchema, FromRow)]
pub struct Usage {
    pub agents: i64,
    pub memories: i64,
    /// Bytes of the contents, in UTF-8.
    pub bytes: i64,
}

/// What a tenant stores, and what it used day by day.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OwnUsage {
    #[serde(flatten)]
    pub stored: Usage,
    /// When `memories` and `bytes` were counted: now, or, of a tenant with very many memories and no quota, at the end of
    /// a day.
    #[serde(with = "time::serde::rfc3339")]
    pub counted_at: OffsetDateTime,
    /// The last 30 days in UTC, the last one being today.
    pub by_day: Vec<DayUse>,
}

/// The state in which a tenant can be changed.
pub fn check_not_erasing(tenant: &Tenant) -> Result<()> {
    if tenant.status == Status::Erasing {
        return Err(Error::refused(Code::WrongState, "this tenant is being erased, which nothing stops"));
    }
    Ok(())
}
