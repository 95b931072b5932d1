//! Settings of credentials: our own keys, and the issuers of tokens that are accepted.

use std::path::PathBuf;

use anyhow::bail;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// The `<env>` in `cairn_<env>_...`; keys of another environment are refused.
    pub key_environment: String,
    /// What tokens of other issuers must be meant for (`aud`).
    pub audience: String,
    /// How often the keys behind `jwks_url` are read again.
    pub jwks_refresh_secs: u64,
    /// Issuers of tokens besides Cairn itself.
    pub issuers: Vec<Issuer>,
}

/// An issuer whose tokens are accepted, and how far.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Issuer {
    /// Exactly as in the tokens' `iss`.
    pub issuer: String,
    /// The one algorithm of its keys, as `RS256`, `ES256` or `EdDSA`.
    pub algorithm: String,
    /// The `typ` of its tokens.
    pub typ: String,
    /// Ids of the tenants it speaks for; `["*"]` for all.
    pub tenants: Vec<String>,
    pub tenant_claim: String,
    pub scope_claim: String,
    /// The claim with the agent that a token acts as. When set, every token must have it.
    pub agent_claim: Option<String>,
    /// The most that its tokens may grant.
    pub scopes: Vec<String>,
    /// Where its keys are: a JWKS address, or a PEM file and the `kid` that goes with it.
    pub jwks_url: Option<String>,
    pub pem_file: Option<PathBuf>,
    pub kid: Option<String>,
}

impl Default for Auth {
    fn default() -> Self {
        Self { key_environment: "live".into(), audience: "cairn".into(), jwks_refresh_secs: 300, issuers: Vec::new() }
    }
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            algorithm: String::new(),
            typ: "at+jwt".into(),
            tenants: Vec::new(),
            tenant_claim: "tenant".into(),
            scope_claim: "scope".into(),
            agent_claim: None,
            scopes: Vec::new(),
            jwks_url: None,
            pem_file: None,
            kid: None,
        }
    }
}

impl Auth {
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        let environment = &self.key_environment;
        if environment.is_empty() || !environment.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            bail!(
                "configuration: setting auth.key_environment: must be lower-case letters and digits, not {environment:?}"
            );
        }
        if !(10..=86_400).contains(&self.jwks_refresh_secs) {
            bail!("configuration: setting auth.jwks_refresh_secs: must be 10 to 86400, not {}", self.jwks_refresh_secs);
        }
        Ok(())
    }
}
