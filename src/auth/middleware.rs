//! Authentication, before any byte of a body is read: credential, gate, and who may act for whom.

use std::time::{Duration, Instant};

use actix_web::HttpMessage;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::AUTHORIZATION;
use actix_web::middleware::Next;
use actix_web::web::Data;
use percent_encoding::percent_decode_str;
use tracing::Instrument;

use crate::app::App;
use crate::auth::credential::{Credential, Grant};
use crate::auth::gate::{self, Passage, Question};
#[cfg(feature = "sabotage")]
use crate::auth::sabotage;
use crate::auth::{CallQuotas, Caller, Issuers, KeyUses, Membership, PathCircle, Role, Subject};
use crate::db::Gate;
use crate::error::{Code, Error, Invalid, Result};
use crate::http::{Principal, hold};
use crate::ids::{ExternalId, TenantId};
use crate::rates::{Admission, Budget, Permit, Refusal};
use crate::telemetry::Stage;

const ACT_AS: &str = "cairn-agent";

/// Lets a request on with its caller, who may have limits; what they hold is let go with the last byte of the answer.
pub async fn authenticate(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let (caller, permits) = match enter(&request).await {
        Ok(entered) => entered,
        Err(error) => return Ok(request.error_response(error)),
    };
    request.extensions_mut().insert(caller);
    let response = next.call(request).await?.map_into_boxed_body();
    Ok(if permits.is_empty() { response } else { hold(response, permits) })
}

async fn enter(request: &ServiceRequest) -> Result<(Caller, Vec<Permit>)> {
    let (rates, credential) = (&shared::<App>(request)?.rates, bearer(request)?);
    if let Some(refusal) = rates.refused(credential) {
        return Err(refuse(request, &refusal));
    }
    let caller = identify(request, credential).await?;
    let caller = Caller { budget: rates.budget(caller.as_counted()), ..caller };
    note_principal(request, caller.tenant, caller.principal.clone());
    match rates.admit(caller.as_counted()).await {
        Ok(None) => Ok((caller, Vec::new())),
        Ok(Some(Admission { permits, standing })) => {
            request.extensions_mut().insert(standing);
            Ok((caller, permits))
        }
        Err(refusal) => {
            rates.remember_refused(credential, &refusal);
            Err(refuse(request, &refusal))
        }
    }
}

fn refuse(request: &ServiceRequest, refusal: &Refusal) -> Error {
    note_principal(request, refusal.tenant, refusal.principal.clone());
    request.extensions_mut().insert(refusal.standing.clone());
    refusal.error()
}

/// For the log.
fn note_principal(request: &ServiceRequest, tenant: TenantId, principal: String) {
    request.extensions_mut().insert(Principal { tenant: tenant.to_string(), principal });
}

async fn identify(request: &ServiceRequest, text: &str) -> Result<Caller> {
    let app = shared::<App>(request)?;
    let credential = Credential::read(text, &app.config.auth, shared::<Issuers>(request)?);
    let credential = credential.ok_or_else(Error::unauthenticated)?;
    let named = Named::of(request);
    // A malformed id names no agent, and is complained about once the caller is known.
    let subject = named.as_ref().ok().and_then(Named::subject);
    let circle = named.as_ref().ok().and_then(|named| named.circle.clone());
    let question = Question { circle, ..credential.question(subject) };
    let arrived = Instant::now();
    let passage = shared::<Gate>(request)?.ask(async |connection| gate::pass(connection, &question).await);
    let passage = passage.instrument(Stage::Gate.span()).await?;
    let grant = credential.admit(passage.as_ref())?;
    let passage = passage.ok_or_else(Error::unauthenticated)?;
    match passage.tenant_status.as_str() {
        "active" => {}
        "suspended" => {
            return Err(Error::refused(Code::TenantSuspended, "this tenant is suspended; ask your operator"));
        }
        _ => return Err(Error::unauthenticated()),
    }
    if let Some(key) = grant.by_key {
        shared::<KeyUses>(request)?.note(passage.tenant_id, key, passage.checked_at);
    }
    let named = named?;
    named.check(grant.bound_to.as_ref())?;
    Ok(Caller { gate_took: arrived.elapsed(), ..caller(grant, passage, &named) })
}

fn shared<T: 'static>(request: &ServiceRequest) -> Result<&Data<T>> {
    request.app_data().ok_or_else(|| Error::Internal(anyhow::anyhow!("the server was built without a part of it")))
}

/// The text after `Authorization: Bearer`.
fn bearer(request: &ServiceRequest) -> Result<&str> {
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let header = headers.next().ok_or_else(Error::unauthenticated)?;
    if headers.next().is_some() {
        return Err(Error::refused(Code::AmbiguousCredentials, "send one Authorization header"));
    }
    let text = header.to_str().map_err(|_| Error::unauthenticated())?;
    match text.split_once(' ') {
        Some((scheme, credential)) if scheme.eq_ignore_ascii_case("bearer") => Ok(credential.trim()),
        _ => Err(Error::unauthenticated()),
    }
}

/// The agents that a request names, and the circle of its path.
struct Named {
    path: Option<ExternalId>,
    header: Option<ExternalId>,
    circle: Option<ExternalId>,
}

impl Named {
    fn of(request: &ServiceRequest) -> Result<Self, Invalid> {
        let below = |root: &str, name: &'static str| {
            segment_below(request.path(), root).map(|raw| parse_segment(raw).map_err(|invalid| invalid.under(name)))
        };
        let header = request.headers().get(ACT_AS).map(|value| {
            ExternalId::parse(value.to_str().unwrap_or_default()).map_err(|invalid| invalid.under("Cairn-Agent"))
        });
        Ok(Self {
            path: below("/v1/agents/", "agent_id").transpose()?,
            header: header.transpose()?,
            circle: below("/v1/circles/", "circle_id").transpose()?,
        })
    }

    fn subject(&self) -> Option<&ExternalId> {
        self.path.as_ref().or(self.header.as_ref())
    }

    /// Who may act for whom: see the table "Who acts" of the contract.
    fn check(&self, bound: Option<&ExternalId>) -> Result<()> {
        let mismatch = |header: &ExternalId, other: &Option<&ExternalId>| other.is_some_and(|other| other != header);
        if let Some(header) = &self.header
            && (mismatch(header, &bound) || mismatch(header, &self.path.as_ref()))
        {
            return Err(Error::refused(
                Code::AgentMismatch,
                "Cairn-Agent names another agent than the credential or the path",
            ));
        }
        if let (Some(path), Some(bound)) = (&self.path, bound)
            && path != bound
        {
            return Err(Error::not_found("agent"));
        }
        Ok(())
    }
}

/// `{agent_id}` of `/v1/agents/{agent_id}/...`, still encoded.
fn segment_below<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    path.strip_prefix(root)?.split('/').next().filter(|segment| !segment.is_empty())
}

fn parse_segment(raw: &str) -> Result<ExternalId, Invalid> {
    let text = percent_decode_str(raw).decode_utf8().map_err(|_| Invalid::new(Code::InvalidId, "must be UTF-8"))?;
    ExternalId::parse(&text)
}

fn caller(grant: Grant, passage: Passage, named: &Named) -> Caller {
    let acts_as_agent = grant.bound_to.is_some() || named.header.is_some();
    caller_of(grant, passage, named.subject(), named.circle.as_ref(), acts_as_agent)
}

/// Who was let in, from what they were granted and what the gate said about the agent and the circle in question.
pub(super) fn caller_of(
    grant: Grant,
    passage: Passage,
    subject: Option<&ExternalId>,
    circle: Option<&ExternalId>,
    acts_as_agent: bool,
) -> Caller {
    let bound = grant.bound_to.is_some();
    let memberships = memberships(&passage);
    #[cfg(feature = "sabotage")]
    let memberships = sabotage::remembered(passage.agent_uid, memberships);
    let path_circle = circle.cloned().and_then(|id| path_circle(id, &passage));
    let subject = subject.cloned().or(grant.bound_to);
    Caller {
        tenant: passage.tenant_id,
        principal: grant.principal,
        by_key: grant.by_key,
        permissions: grant.permissions,
        subject: subject.map(|id| Subject { id, uid: passage.agent_uid, tag: passage.agent_tag }),
        bound,
        acts_as_agent,
        memberships,
        path_circle,
        auto_create_agents: passage.auto_create_agents,
        embedding_pin: passage.embedding_pin,
        tenant_tag: passage.tenant_tag,
        cache_secret: passage.cache_secret,
        quotas: CallQuotas {
            requests_per_second: passage.requests_per_second,
            concurrent_requests: passage.concurrent_requests,
            embedding_tokens_per_minute: passage.tokens_per_minute,
        },
        budget: Budget::default(),
        keep_queries: passage.keep_queries,
        rewarm: passage.rewarm,
        checked_at: passage.checked_at,
        gate_took: Duration::ZERO,
    }
}

/// The gate answers with arrays of equal length, one element a circle.
fn memberships(passage: &Passage) -> Vec<Membership> {
    let (Some(ids), Some(roles), Some(contents), Some(tags)) =
        (&passage.circle_ids, &passage.circle_roles, &passage.circle_contents, &passage.circle_tags)
    else {
        return Vec::new();
    };
    let rows = ids.iter().zip(roles).zip(contents).zip(tags);
    rows.filter_map(|(((id, role), content), tag)| {
        let (circle, role) = (ExternalId::parse(id).ok()?, Role::parse(role).ok()?);
        Some(Membership { circle, role, content: *content, tag: *tag })
    })
    .collect()
}

fn path_circle(id: ExternalId, passage: &Passage) -> Option<PathCircle> {
    Some(PathCircle {
        id,
        uid: passage.path_circle?,
        content: passage.path_content?,
        board: passage.path_board?,
        content_tag: passage.path_content_tag,
        board_tag: passage.path_board_tag,
    })
}
