//! What is limited, for whom, and to how much.

use std::num::NonZeroU32;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::config;
use crate::ids::TenantId;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::VariantArray)]
pub enum Resource {
    Requests,
    Concurrency,
    Tokens,
}

impl Resource {
    /// In labels and in the names of policies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Concurrency => "concurrency",
            Self::Tokens => "tokens",
        }
    }
}

/// Who has a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::VariantArray)]
pub enum By {
    Tenant,
    Principal,
}

impl By {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Principal => "principal",
        }
    }
}

/// How much somebody may ask for; None: as much as it likes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Allowance {
    pub requests_per_second: Option<NonZeroU32>,
    pub concurrent_requests: Option<NonZeroU32>,
    pub embedding_tokens_per_minute: Option<NonZeroU32>,
}

impl Allowance {
    pub fn of_tenants(settings: &config::Rates) -> Self {
        Self {
            requests_per_second: NonZeroU32::new(settings.tenant_requests_per_second),
            concurrent_requests: NonZeroU32::new(settings.tenant_concurrent_requests),
            embedding_tokens_per_minute: NonZeroU32::new(settings.tenant_embedding_tokens_per_minute),
        }
    }

    pub fn of_principals(settings: &config::Rates) -> Self {
        Self {
            requests_per_second: NonZeroU32::new(settings.principal_requests_per_second),
            concurrent_requests: NonZeroU32::new(settings.principal_concurrent_requests),
            embedding_tokens_per_minute: NonZeroU32::new(settings.principal_embedding_tokens_per_minute),
        }
    }

    /// This, and where it says nothing, that.
    pub fn or(self, other: Self) -> Self {
        Self {
            requests_per_second: self.requests_per_second.or(other.requests_per_second),
            concurrent_requests: self.concurrent_requests.or(other.concurrent_requests),
            embedding_tokens_per_minute: self.embedding_tokens_per_minute.or(other.embedding_tokens_per_minute),
        }
    }

    pub fn is_unlimited(self) -> bool {
        self == Self::default()
    }

    pub fn of(self, resource: Resource) -> Option<NonZeroU32> {
        match resource {
            Resource::Requests => self.requests_per_second,
            Resource::Concurrency => self.concurrent_requests,
            Resource::Tokens => self.embedding_tokens_per_minute,
        }
    }
}

/// Whose count is kept: a tenant's, or that of one of its principals, known by a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Payer {
    pub tenant: TenantId,
    principal: Option<u128>,
}

impl Payer {
    pub fn tenant(tenant: TenantId) -> Self {
        Self { tenant, principal: None }
    }

    pub fn principal(tenant: TenantId, principal: &str) -> Self {
        let digest = Sha256::digest(principal);
        let half = digest.first_chunk().copied().unwrap_or_default();
        Self { tenant, principal: Some(u128::from_be_bytes(half)) }
    }

    pub fn by(&self) -> By {
        if self.principal.is_some() { By::Principal } else { By::Tenant }
    }

    /// Outside of the tenant's own part of the keys: who flushes its caches gets no new budget.
    pub fn key(&self, prefix: &str, resource: Resource) -> String {
        let (tenant, resource) = (self.tenant, resource.name());
        match self.principal {
            None => format!("{prefix}rate:{tenant}:{resource}"),
            Some(hash) => format!("{prefix}rate:{tenant}:{resource}:{hash:032x}"),
        }
    }
}

/// Who pays for what is embedded, and how much each may spend a minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    pub principal: Option<(Payer, NonZeroU32)>,
    pub tenant: Option<(Payer, NonZeroU32)>,
}

/// So many in so long, steadily; what was not used in one such time is there at once in the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub most: NonZeroU32,
    pub window: Duration,
}

impl Rate {
    pub fn of(resource: Resource, most: NonZeroU32) -> Self {
        let seconds = if resource == Resource::Tokens { 60 } else { 1 };
        Self { most, window: Duration::from_secs(seconds) }
    }

    /// The time in which one comes, in microseconds, where as many instances share the rate.
    pub fn per(self, instances: usize) -> f64 {
        self.window.as_micros() as f64 * instances as f64 / f64::from(self.most.get())
    }
}
