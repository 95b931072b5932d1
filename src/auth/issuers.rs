//! Issuers of tokens besides ourselves, as the settings name them. Their keys come from a PEM file
//! or from a JWKS address that is read on a timer, never because of a token.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::StreamExt;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};

use crate::auth::token::{Claims, Token};
use crate::auth::{Permission, Permissions};
use crate::config::{Auth, Issuer as Settings};
use crate::ids::{ExternalId, TenantId};

const MAX_JWKS_BYTES: usize = 256 * 1024;
const JWKS_DEADLINE: Duration = Duration::from_secs(10);

/// What a token of another issuer grants, if the gate and the clock agree.
pub struct External {
    pub tenant: TenantId,
    pub permissions: Permissions,
    /// The agent that its holder acts as.
    pub agent: Option<ExternalId>,
    pub principal: String,
    pub claims: Claims,
}

/// All issuers of the settings.
pub struct Issuers(Vec<Issuer>);

struct Issuer {
    settings: Settings,
    algorithm: Algorithm,
    tenants: Tenants,
    most: Permissions,
    keys: RwLock<HashMap<String, DecodingKey>>,
}

/// The tenants that an issuer speaks for.
enum Tenants {
    All,
    These(Vec<TenantId>),
}

impl Issuers {
    /// Reads the settings and keeps the keys fresh for as long as somebody holds the result.
    pub fn start(settings: &Auth) -> anyhow::Result<Arc<Self>> {
        let issuers = settings.issuers.iter().enumerate().map(|(index, issuer)| {
            Issuer::of(issuer).with_context(|| format!("configuration: setting auth.issuers[{index}]"))
        });
        let issuers = Arc::new(Self(issuers.collect::<anyhow::Result<_>>()?));
        if issuers.0.iter().any(|issuer| issuer.settings.jwks_url.is_some()) {
            let every = Duration::from_secs(settings.jwks_refresh_secs);
            tokio::spawn(keep_fresh(Arc::downgrade(&issuers), every));
        }
        Ok(issuers)
    }

    /// What a token grants, if one of the issuers signed it. `audience` is what a token must be meant for.
    pub fn verify(&self, token: Token, audience: &str) -> Option<External> {
        let issuer = self.0.iter().find(|issuer| issuer.settings.issuer == token.claims.issuer)?;
        let key = issuer.keys.read().unwrap_or_else(PoisonError::into_inner).get(&token.kid).cloned()?;
        let fits = token.kind.eq_ignore_ascii_case(&issuer.settings.typ) && token.claims.is_for(audience);
        if !fits || !token.is_signed_by(&key, issuer.algorithm) {
            return None;
        }
        issuer.grant(token.claims)
    }

    async fn refresh(&self, client: &reqwest::Client) {
        for issuer in &self.0 {
            let Some(url) = &issuer.settings.jwks_url else { continue };
            match fetch(client, url).await {
                Ok(set) => issuer.replace_keys(&set),
                // The keys of before go on: an issuer that is down for a moment must not lock everyone out.
                Err(error) => {
                    tracing::warn!(issuer = issuer.settings.issuer, cause = format!("{error:#}"), "reading its keys");
                }
            }
        }
    }
}

impl Issuer {
    fn of(settings: &Settings) -> anyhow::Result<Self> {
        ensure!(
            !settings.issuer.is_empty() && settings.issuer != super::ISSUER,
            "issuer: must be set, and not \"cairn\""
        );
        let algorithm: Algorithm = settings
            .algorithm
            .parse()
            .ok()
            .with_context(|| format!("algorithm: {:?} is none; try RS256, ES256 or EdDSA", settings.algorithm))?;
        ensure!(
            algorithm.family() != AlgorithmFamily::Hmac,
            "algorithm: must be one with a public key, not {algorithm:?}"
        );
        let most = Permissions::parse(&settings.scopes.join(","))
            .map_err(|invalid| anyhow::anyhow!("scopes: {}", invalid.detail))?;
        ensure!(!most.contains(Permission::Platform), "scopes: an issuer cannot grant platform");
        let tenants = match settings.tenants.as_slice() {
            [] => bail!("tenants: name the ids of the tenants it speaks for"),
            [one] if one == "*" => Tenants::All,
            some => Tenants::These(some.iter().map(|id| tenant(id)).collect::<anyhow::Result<_>>()?),
        };
        let keys = match (&settings.pem_file, &settings.kid, &settings.jwks_url) {
            (Some(file), Some(kid), None) => {
                let pem = fs::read(file).with_context(|| format!("pem_file: reading {}", file.display()))?;
                let key = public_key(&pem, algorithm).context("pem_file: no public key for this algorithm")?;
                HashMap::from([(kid.clone(), key)])
            }
            (None, None, Some(url)) => {
                url.parse::<reqwest::Url>().with_context(|| format!("jwks_url: {url:?} is no URL"))?;
                HashMap::new()
            }
            _ => bail!("set either jwks_url, or pem_file and kid"),
        };
        Ok(Self { settings: settings.clone(), algorithm, tenants, most, keys: RwLock::new(keys) })
    }

    /// Reads the claims that this issuer is configured to make. Fails closed: with `agent_claim` set, a token without
    /// that claim is none.
    fn grant(&self, claims: Claims) -> Option<External> {
        let tenant = tenant(claims.text(&self.settings.tenant_claim)?).ok()?;
        let allowed = match &self.tenants {
            Tenants::All => tenant != TenantId::OPERATOR,
            Tenants::These(tenants) => tenants.contains(&tenant),
        };
        let agent = match &self.settings.agent_claim {
            Some(name) => Some(ExternalId::parse(claims.text(name)?).ok()?),
            None => None,
        };
        let permissions = Permissions::from_names(&claims.list(&self.settings.scope_claim)).and(self.most);
        let principal = format!("{}#{}", claims.issuer, claims.subject);
        allowed.then_some(External { tenant, permissions, agent, principal, claims })
    }

    fn replace_keys(&self, set: &JwkSet) {
        let keys: HashMap<String, DecodingKey> = set.keys.iter().filter_map(|jwk| self.usable(jwk)).collect();
        tracing::debug!(issuer = self.settings.issuer, keys = keys.len(), "read its keys");
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    fn usable(&self, jwk: &Jwk) -> Option<(String, DecodingKey)> {
        let signs = jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
        let fits = jwk.common.key_algorithm.is_none_or(|algorithm| algorithm.to_string() == self.settings.algorithm);
        let key = DecodingKey::from_jwk(jwk).ok().filter(|key| is_for(key, self.algorithm))?;
        (signs && fits).then_some((jwk.common.key_id.clone()?, key))
    }
}

/// A key of another family, or of a length that its family does not have, is no key.
fn is_for(key: &DecodingKey, algorithm: Algorithm) -> bool {
    let whole = key.family() != AlgorithmFamily::Ed || key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() == 32);
    key.family() == algorithm.family() && whole
}

fn public_key(pem: &[u8], algorithm: Algorithm) -> anyhow::Result<DecodingKey> {
    let key = match algorithm.family() {
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(pem)?,
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(pem)?,
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem(pem)?,
        AlgorithmFamily::Hmac => bail!("a shared secret is no public key"),
    };
    ensure!(is_for(&key, algorithm), "the key is not for {algorithm:?}");
    Ok(key)
}

fn tenant(id: &str) -> anyhow::Result<TenantId> {
    let id: uuid::Uuid = id.parse().with_context(|| format!("tenants: {id:?} is no tenant's id"))?;
    Ok(TenantId::from_uuid(id))
}

async fn keep_fresh(issuers: Weak<Issuers>, every: Duration) {
    let client = reqwest::Client::builder().timeout(JWKS_DEADLINE).redirect(reqwest::redirect::Policy::none()).build();
    let Ok(client) = client else {
        tracing::error!("no HTTP client, so no keys of other issuers");
        return;
    };
    while let Some(issuers) = issuers.upgrade() {
        issuers.refresh(&client).await;
        drop(issuers);
        tokio::time::sleep(every).await;
    }
}

async fn fetch(client: &reqwest::Client, url: &str) -> anyhow::Result<JwkSet> {
    let answer = client.get(url).send().await?.error_for_status()?;
    let mut chunks = answer.bytes_stream();
    let mut body = Vec::new();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk?);
        ensure!(body.len() <= MAX_JWKS_BYTES, "the key set is larger than {MAX_JWKS_BYTES} bytes");
    }
    serde_json::from_slice(&body).context("the key set is no JWKS")
}
