//! The most that a tenant may store and call for.

use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;

use crate::auth::CallQuotas;
use crate::error::{Invalid, Result};
use crate::json::{Fields, FromJson, Json, whole_number};
use crate::rates::{Allowance, Resource};

/// The most of a rate; more is as good as no limit.
const MOST_OF_A_RATE: i64 = 1_000_000_000;

/// The most that a tenant may store, where null is no limit; and what it may call for, where null is what the server
/// is configured for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema, FromRow)]
pub struct Quotas {
    #[sqlx(rename = "quota_memories")]
    #[schema(minimum = 0)]
    pub memories: Option<i64>,
    /// Bytes of the contents, in UTF-8.
    #[sqlx(rename = "quota_bytes")]
    #[schema(minimum = 0)]
    pub bytes: Option<i64>,
    #[sqlx(rename = "quota_requests_per_second")]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub requests_per_second: Option<i32>,
    /// Requests under way at the same time, until the last byte of their answers.
    #[sqlx(rename = "quota_concurrent_requests")]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub concurrent_requests: Option<i32>,
    /// Tokens that are really embedded; what comes from a cache is free.
    #[sqlx(rename = "quota_embedding_tokens_per_minute")]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub embedding_tokens_per_minute: Option<i32>,
}

impl Quotas {
    pub fn any(self) -> bool {
        self != Self::default()
    }

    /// Whether what is stored has to be counted.
    pub fn of_storage(self) -> bool {
        self.memories.is_some() || self.bytes.is_some()
    }

    pub fn of_calls(self) -> CallQuotas {
        CallQuotas {
            requests_per_second: self.requests_per_second,
            concurrent_requests: self.concurrent_requests,
            embedding_tokens_per_minute: self.embedding_tokens_per_minute,
        }
    }
}

impl FromJson for Quotas {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        Ok(QuotaPatch::from_json(json)?.apply(Self::default()))
    }
}

/// A merge patch of quotas: null lifts one.
#[derive(Debug, Clone, Copy, Default, ToSchema)]
pub struct QuotaPatch {
    #[schema(value_type = Option<i64>, minimum = 0)]
    pub memories: Option<Option<i64>>,
    #[schema(value_type = Option<i64>, minimum = 0)]
    pub bytes: Option<Option<i64>>,
    #[schema(value_type = Option<i32>, minimum = 1, maximum = 1_000_000_000)]
    pub requests_per_second: Option<Option<i32>>,
    #[schema(value_type = Option<i32>, minimum = 1, maximum = 1_000_000_000)]
    pub concurrent_requests: Option<Option<i32>>,
    #[schema(value_type = Option<i32>, minimum = 1, maximum = 1_000_000_000)]
    pub embedding_tokens_per_minute: Option<Option<i32>>,
}

impl QuotaPatch {
    /// Whether it changes anything.
    pub fn names_any(&self) -> bool {
        let Self { memories, bytes, requests_per_second, concurrent_requests, embedding_tokens_per_minute } = self;
        let rates = [requests_per_second, concurrent_requests, embedding_tokens_per_minute];
        memories.is_some() || bytes.is_some() || rates.iter().any(|rate| rate.is_some())
    }

    pub(super) fn apply(self, before: Quotas) -> Quotas {
        let tokens = self.embedding_tokens_per_minute;
        Quotas {
            memories: self.memories.unwrap_or(before.memories),
            bytes: self.bytes.unwrap_or(before.bytes),
            requests_per_second: self.requests_per_second.unwrap_or(before.requests_per_second),
            concurrent_requests: self.concurrent_requests.unwrap_or(before.concurrent_requests),
            embedding_tokens_per_minute: tokens.unwrap_or(before.embedding_tokens_per_minute),
        }
    }
}

impl FromJson for QuotaPatch {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let mut quantity = |name| fields.patch::<Quantity>(name).map(|quota| quota.map(|quota| quota.0));
        let (memories, bytes) = (quantity("memories"), quantity("bytes"));
        let mut rate = |name| fields.patch::<PerTime>(name).map(|quota| quota.map(|quota| quota.0));
        let (requests_per_second, concurrent_requests) = (rate("requests_per_second"), rate("concurrent_requests"));
        let embedding_tokens_per_minute = rate("embedding_tokens_per_minute");
        fields.finish(|| {
            Some(Self { memories, bytes, requests_per_second, concurrent_requests, embedding_tokens_per_minute })
        })
    }
}

/// A number of things that fits the database.
struct Quantity(i64);

impl FromJson for Quantity {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        Ok(Self(whole_number(json, 0, i64::MAX)?))
    }
}

/// A number of things in a time; with none at all, a tenant is suspended.
struct PerTime(i32);

impl FromJson for PerTime {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let number = whole_number(json, 1, MOST_OF_A_RATE)?;
        Ok(Self(i32::try_from(number).unwrap_or(i32::MAX)))
    }
}

/// How much may be called for; null: as much as one likes.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct CallLimits {
    requests_per_second: Option<u32>,
    concurrent_requests: Option<u32>,
    embedding_tokens_per_minute: Option<u32>,
}

impl From<Allowance> for CallLimits {
    fn from(allowance: Allowance) -> Self {
        let most = |resource| allowance.of(resource).map(std::num::NonZeroU32::get);
        Self {
            requests_per_second: most(Resource::Requests),
            concurrent_requests: most(Resource::Concurrency),
            embedding_tokens_per_minute: most(Resource::Tokens),
        }
    }
}

/// The limits of calls in force: those of the tenant, and those of each of its principals.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Rates {
    pub tenant: CallLimits,
    /// An API key, or a subject of another issuer's tokens.
    pub principal: CallLimits,
}
