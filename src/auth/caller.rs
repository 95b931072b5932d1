//! The caller of a request, and permissions as types: a handler that names `Writer` first cannot
//! run, nor read a byte of the body, for a caller without that right.

use std::future::{Ready, ready};
use std::num::NonZeroU32;
use std::ops::Deref;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use time::OffsetDateTime;

use crate::auth::{Permission, Permissions, Role};
use crate::cache::Owner;
use crate::db::{Idempotency, Intent};
use crate::error::{Code, Error, Result};
use crate::ids::{AgentUid, CircleUid, ExternalId, KeyId, ScopeId, Tag, TenantId};
use crate::rates::{self, Allowance, Budget};

/// Someone who passed the gate, and what the gate said.
#[derive(Debug, Clone)]
pub struct Caller {
    pub tenant: TenantId,
    /// Who did it, for histories, cursors and the log.
    pub principal: String,
    /// The API key itself was presented, not a token.
    pub by_key: Option<KeyId>,
    pub permissions: Permissions,
    /// The agent in question: of the path, else of `Cairn-Agent`, else the bound one.
    pub subject: Option<Subject>,
    /// The credential can act as one agent only.
    pub bound: bool,
    /// Whether the caller acts as that agent: a bound credential or `Cairn-Agent`.
    pub acts_as_agent: bool,
    /// The circles that agent is a member of at this moment.
    pub memberships: Vec<Membership>,
    /// The circle of the path, if there is one of that name.
    pub path_circle: Option<PathCircle>,
    pub auto_create_agents: bool,
    pub embedding_pin: String,
    /// The tag of the tenant's own scope: part of the stamp of every answer.
    pub tenant_tag: Option<Tag>,
    pub cache_secret: Option<i32>,
    pub quotas: CallQuotas,
    /// What it may spend on what has to be embedded.
    pub budget: Budget,
    /// Whether the tenant lets the text of frequent recalls be kept, sealed.
    pub keep_queries: bool,
    /// Whether the tenant wants what is asked most computed anew after a change.
    pub rewarm: bool,
    /// The database's clock at the gate.
    pub checked_at: OffsetDateTime,
    /// How long the gate took, for `Server-Timing`.
    pub gate_took: Duration,
}

/// The most that a tenant may call for; none: what the server is configured for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallQuotas {
    pub requests_per_second: Option<i32>,
    pub concurrent_requests: Option<i32>,
    pub embedding_tokens_per_minute: Option<i32>,
}

impl From<CallQuotas> for Allowance {
    fn from(quotas: CallQuotas) -> Self {
        let limit = |quota: Option<i32>| quota.and_then(|most| u32::try_from(most).ok()).and_then(NonZeroU32::new);
        Self {
            requests_per_second: limit(quotas.requests_per_second),
            concurrent_requests: limit(quotas.concurrent_requests),
            embedding_tokens_per_minute: limit(quotas.embedding_tokens_per_minute),
        }
    }
}

/// An agent by name, and by incarnation if it exists.
#[derive(Debug, Clone)]
pub struct Subject {
    pub id: ExternalId,
    pub uid: Option<AgentUid>,
    pub tag: Option<Tag>,
}

#[derive(Debug, Clone)]
pub struct Membership {
    pub circle: ExternalId,
    pub role: Role,
    pub content: ScopeId,
    pub tag: Option<Tag>,
}

/// A circle by name and by incarnation, with its two scopes and their tags.
#[derive(Debug, Clone)]
pub struct PathCircle {
    pub id: ExternalId,
    pub uid: CircleUid,
    pub content: ScopeId,
    pub board: ScopeId,
    pub content_tag: Option<Tag>,
    pub board_tag: Option<Tag>,
}

impl Caller {
    /// The agent of the path, which routes below `/v1/agents/{agent_id}` always have.
    pub fn agent(&self) -> Result<&Subject> {
        self.subject.as_ref().ok_or_else(|| Error::not_found("agent"))
    }

    /// The same, where it must exist.
    pub fn known_agent(&self) -> Result<AgentUid> {
        self.agent()?.uid.ok_or_else(|| Error::not_found("agent"))
    }

    /// The agent that the caller acts as. An unbound caller without `Cairn-Agent` acts for all of its tenant.
    pub fn acting(&self) -> Option<&Subject> {
        self.subject.as_ref().filter(|_| self.acts_as_agent)
    }

    /// Its incarnation. An agent that is not there reaches nothing: nothing belongs to the nil agent.
    pub fn acting_uid(&self) -> Option<AgentUid> {
        self.acting().map(|agent| agent.uid.unwrap_or(AgentUid::NIL))
    }

    /// The circle of the path, for who may see it and has at least this role there. A trusted back end has them all.
    pub fn circle(&self, least: Role) -> Result<&PathCircle> {
        let circle = self.path_circle.as_ref().ok_or_else(|| Error::not_found("circle"))?;
        if self.acts_as_agent {
            self.role_in(&circle.id).ok_or_else(|| Error::not_found("circle"))?.require(least)?;
        }
        Ok(circle)
    }

    /// The role of the agent in question at this moment; none: it is no member.
    pub fn role_in(&self, circle: &ExternalId) -> Option<Role> {
        self.memberships.iter().find(|membership| membership.circle == *circle).map(|membership| membership.role)
    }

    /// What the caller means to write, once.
    pub fn intent(&self, once: Idempotency) -> Intent {
        Intent { tenant: self.tenant, principal: self.principal.clone(), once }
    }

    /// Whose cached entries the caller may meet.
    pub fn owner(&self) -> Owner {
        Owner { tenant: self.tenant, secret: self.cache_secret, budget: self.budget }
    }

    /// The caller as limits know it.
    pub fn as_counted(&self) -> rates::Caller<'_> {
        rates::Caller { tenant: self.tenant, principal: &self.principal, quotas: self.quotas.into() }
    }

    fn require(&self, permission: Permission) -> Result<()> {
        if self.permissions.contains(permission) {
            return Ok(());
        }
        Err(Error::refused(Code::InsufficientScope, format!("this credential lacks the scope {}", permission.name())))
    }
}

macro_rules! permits {
    ($($(#[$doc:meta])* $name:ident requires $permission:ident),* $(,)?) => {$(
        $(#[$doc])*
        pub struct $name(Caller);

        impl Deref for $name {
            type Target = Caller;

            fn deref(&self) -> &Caller {
                &self.0
            }
        }

        impl FromRequest for $name {
            type Error = Error;
            type Future = Ready<Result<Self>>;

            fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
                ready(caller_of(request, Permission::$permission).map(Self))
            }
        }
    )*};
}

permits! {
    /// May read and recall memories.
    Reader requires MemoriesRead,
    /// May remember, edit and forget.
    Writer requires MemoriesWrite,
    /// May read circles, and recall what is shared there.
    CircleReader requires CirclesRead,
    /// May change circles, as far as the role goes.
    CircleManager requires CirclesManage,
    /// May issue and revoke keys.
    KeyManager requires KeysManage,
    /// May see what the caches do.
    CacheReader requires CacheRead,
    /// May see, change and start warm-ups.
    JobManager requires JobsManage,
    /// May flush the caches.
    CacheManager requires CacheManage,
    /// May see and change its tenant.
    TenantAdmin requires TenantAdmin,
    /// Manages tenants, and reads nothing of theirs.
    Operator requires Platform,
}

/// Anyone with a valid credential.
pub struct Holder(Caller);

impl Deref for Holder {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl FromRequest for Holder {
    type Error = Error;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(caller(request).map(Self))
    }
}

fn caller_of(request: &HttpRequest, permission: Permission) -> Result<Caller> {
    let caller = caller(request)?;
    caller.require(permission)?;
    Ok(caller)
}

fn caller(request: &HttpRequest) -> Result<Caller> {
    request.extensions().get::<Caller>().cloned().ok_or_else(Error::unauthenticated)
}
