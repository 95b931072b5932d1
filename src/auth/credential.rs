//! What a caller presents: an API key, a token made from one, or a token of another issuer; and
//! what the gate's answer makes of it. Every refusal reads alike, whatever was wrong.

use jsonwebtoken::{Algorithm, DecodingKey};

use crate::auth::gate::{Passage, Question};
use crate::auth::issuers::{External, Issuers};
use crate::auth::token::Token;
use crate::auth::{ISSUER, Permissions, PlainKey, TOKEN_TYPE};
use crate::config::Auth;
use crate::error::{Error, Result};
use crate::ids::{AgentUid, ExternalId, KeyId, SigningKeyId, TenantId};

pub enum Credential {
    Key(PlainKey),
    Ours(Box<OwnToken>),
    Theirs(Box<External>),
}

/// A token that says it is ours.
pub struct OwnToken {
    token: Token,
    key: KeyId,
    signed_by: SigningKeyId,
    tenant: TenantId,
    /// Where the token is bound to an agent of its own, beyond what its key is.
    narrowed_to: Option<AgentUid>,
}

/// What a credential is good for, now.
pub struct Grant {
    pub permissions: Permissions,
    pub bound_to: Option<ExternalId>,
    pub principal: String,
    /// The API key itself was presented, not a token.
    pub by_key: Option<KeyId>,
}

impl Credential {
    /// Reads what can be read without the database.
    pub fn read(text: &str, settings: &Auth, issuers: &Issuers) -> Option<Self> {
        if let Some(key) = PlainKey::parse(text, &settings.key_environment) {
            return Some(Self::Key(key));
        }
        let token = Token::parse(text)?;
        if token.claims.issuer == ISSUER {
            return OwnToken::of(token).map(|own| Self::Ours(Box::new(own)));
        }
        issuers.verify(token, &settings.audience).map(|external| Self::Theirs(Box::new(external)))
    }

    pub fn question(&self, named: Option<&ExternalId>) -> Question {
        let subject = named.cloned();
        match self {
            Self::Key(key) => Question { key: Some(key.id), subject, ..Question::default() },
            Self::Ours(own) => Question {
                key: Some(own.key),
                signed_by: Some(own.signed_by),
                narrowed_to: own.narrowed_to,
                subject,
                ..Question::default()
            },
            Self::Theirs(external) => Question {
                tenant: Some(external.tenant),
                subject: subject.or_else(|| external.agent.clone()),
                ..Question::default()
            },
        }
    }

    /// `None` in `passage`: the gate knows nothing of it. The work is the same either way.
    pub fn admit(&self, passage: Option<&Passage>) -> Result<Grant> {
        match self {
            Self::Key(key) => {
                let genuine = key.matches(passage.and_then(|passage| passage.secret_hash.as_deref()));
                let passage = passage.filter(|_| genuine).ok_or_else(Error::unauthenticated)?;
                let permissions = permissions_of_key(passage)?;
                let (principal, bound_to) = (key.id.to_string(), passage.bound_id.clone());
                Ok(Grant { permissions, bound_to, principal, by_key: Some(key.id) })
            }
            Self::Ours(own) => own.admit(passage.ok_or_else(Error::unauthenticated)?),
            Self::Theirs(external) => {
                let passage = passage.ok_or_else(Error::unauthenticated)?;
                external.claims.check_times(passage.checked_at, passage.tokens_valid_from)?;
                Ok(Grant {
                    permissions: external.permissions,
                    bound_to: external.agent.clone(),
                    principal: external.principal.clone(),
                    by_key: None,
                })
            }
        }
    }
}

/// The permissions of a key that is live.
fn permissions_of_key(passage: &Passage) -> Result<Permissions> {
    match (&passage.scopes, passage.key_live) {
        (Some(scopes), Some(true)) => Ok(Permissions::from_names(scopes)),
        _ => Err(Error::unauthenticated()),
    }
}

impl OwnToken {
    fn of(token: Token) -> Option<Self> {
        let claims = &token.claims;
        if token.kind != TOKEN_TYPE || !claims.is_for(ISSUER) {
            return None;
        }
        let uuid = |text: &str| text.parse::<uuid::Uuid>().ok();
        let narrowed_to = match claims.text("agent") {
            Some(agent) => Some(AgentUid::from_uuid(uuid(agent)?)),
            None if claims.has("agent") => return None,
            None => None,
        };
        Some(Self {
            key: KeyId::parse(&claims.subject)?,
            signed_by: SigningKeyId::parse(&token.kid)?,
            tenant: TenantId::from_uuid(uuid(claims.text("tenant")?)?),
            narrowed_to,
            token,
        })
    }

    /// A token is worth at most what its key is worth now, and dies with it and with its agent.
    fn admit(&self, passage: &Passage) -> Result<Grant> {
        let signer = passage.signer.as_deref().ok_or_else(Error::unauthenticated)?;
        let signed = self.token.is_signed_by(&DecodingKey::from_ed_der(signer), Algorithm::EdDSA);
        let bound = self.narrowed_to.is_none() || self.narrowed_to == passage.bound_uid;
        if !signed || !bound || self.tenant != passage.tenant_id {
            return Err(Error::unauthenticated());
        }
        self.token.claims.check_times(passage.checked_at, passage.tokens_valid_from)?;
        let granted = Permissions::from_names(&self.token.claims.list("scope"));
        Ok(Grant {
            permissions: granted.and(permissions_of_key(passage)?),
            bound_to: passage.bound_id.clone(),
            principal: self.key.to_string(),
            by_key: None,
        })
    }
}
