//! Settings of rates: how much tenants and principals may ask for in a time.

use anyhow::bail;
use serde::{Deserialize, Serialize};

/// What a tenant without quotas of its own may ask for, and each of its principals (an API key, or a subject of another
/// issuer's tokens). 0: as much as it likes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    pub tenant_requests_per_second: u32,
    /// Requests that are under way at the same time, until the last byte of their answers.
    pub tenant_concurrent_requests: u32,
    /// Tokens that are really embedded; what comes from a cache is free.
    pub tenant_embedding_tokens_per_minute: u32,
    pub principal_requests_per_second: u32,
    pub principal_concurrent_requests: u32,
    pub principal_embedding_tokens_per_minute: u32,
}

/// More than this is as good as no limit.
const MOST: u32 = 1_000_000_000;

impl Rates {
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        let named = [
            ("tenant_requests_per_second", self.tenant_requests_per_second),
            ("tenant_concurrent_requests", self.tenant_concurrent_requests),
            ("tenant_embedding_tokens_per_minute", self.tenant_embedding_tokens_per_minute),
            ("principal_requests_per_second", self.principal_requests_per_second),
            ("principal_concurrent_requests", self.principal_concurrent_requests),
            ("principal_embedding_tokens_per_minute", self.principal_embedding_tokens_per_minute),
        ];
        for (name, value) in named {
            if value > MOST {
                bail!("configuration: setting rates.{name}: must be 0 (no limit) to {MOST}, not {value}");
            }
        }
        Ok(())
    }
}
