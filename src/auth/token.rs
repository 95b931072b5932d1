//! Access tokens (JWT, RFC 7519, read as RFC 8725 advises): what one may look like, before and
//! after its signature is known to be good. Times are judged by the database's clock.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::error::{Code, Error, Result};
use crate::json;
use crate::words::value_of;

/// Longer ones are refused unread.
pub const MAX_BYTES: usize = 4 * 1024;
/// The longest that a token may live.
pub const MAX_LIFETIME_SECS: i64 = 900;
/// How far the clocks of others may be off.
const LEEWAY_SECS: i64 = 30;
/// Beyond any date worth having; keeps sums of times from overflowing.
const MAX_TIME: i64 = 100_000_000_000;
const MAX_DEPTH: usize = 4;

/// A token that is well-formed; nothing is known about its signature.
pub struct Token {
    pub algorithm: Algorithm,
    pub kind: String,
    pub kid: String,
    pub claims: Claims,
    signed: String,
    signature: String,
}

impl Token {
    /// `None`: no token that could ever be accepted.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header = object(header)?;
        // Whatever else a header can name (`jku`, `x5u`, `jwk`, `crit`, `zip`) has been used to fool someone.
        if header.keys().any(|name| !["alg", "typ", "kid"].contains(&name.as_str())) {
            return None;
        }
        let text = |name| header.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            algorithm: text("alg")?.parse().ok()?,
            kind: text("typ")?,
            kid: text("kid")?,
            claims: Claims::parse(object(claims)?)?,
            signed: signed.to_owned(),
            signature: signature.to_owned(),
        })
    }

    /// Whether this key made the signature, with the one algorithm that the key is for.
    pub fn is_signed_by(&self, key: &DecodingKey, algorithm: Algorithm) -> bool {
        self.algorithm == algorithm
            && crypto::verify(&self.signature, self.signed.as_bytes(), key, algorithm).unwrap_or(false)
    }
}

/// One part of a token: base64url without padding, strict JSON, no duplicate names.
fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    match value_of(&json::parse(&bytes, MAX_DEPTH).ok()?).ok()? {
        Value::Object(map) => Some(map),
        _ => None,
    }
}

/// What a token says. Every claim that must be there is.
pub struct Claims {
    pub issuer: String,
    pub subject: String,
    audience: Vec<String>,
    expires_at: i64,
    not_before: i64,
    issued_at: i64,
    others: Map<String, Value>,
}

impl Claims {
    fn parse(claims: Map<String, Value>) -> Option<Self> {
        let text = |name| claims.get(name).and_then(Value::as_str).filter(|text: &&str| !text.is_empty());
        let time = |name| claims.get(name).and_then(Value::as_i64).filter(|time| (0..=MAX_TIME).contains(time));
        let audience = match claims.get("aud")? {
            Value::String(one) => vec![one.clone()],
            Value::Array(many) => many.iter().map(|one| one.as_str().map(str::to_owned)).collect::<Option<_>>()?,
            _ => return None,
        };
        text("jti")?;
        Some(Self {
            issuer: text("iss")?.to_owned(),
            subject: text("sub")?.to_owned(),
            audience,
            expires_at: time("exp")?,
            not_before: time("nbf")?,
            issued_at: time("iat")?,
            others: claims,
        })
    }

    pub fn is_for(&self, audience: &str) -> bool {
        self.audience.iter().any(|one| one == audience)
    }

    /// A claim that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.others.get(name).and_then(Value::as_str)
    }

    pub fn has(&self, name: &str) -> bool {
        self.others.contains_key(name)
    }

    /// Scopes, as one text with spaces (RFC 8693) or as a list.
    pub fn list(&self, name: &str) -> Vec<String> {
        match self.others.get(name) {
            Some(Value::String(text)) => text.split(' ').filter(|one| !one.is_empty()).map(str::to_owned).collect(),
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }

    /// `valid_from`: the tenant refuses what was issued before.
    pub fn check_times(&self, now: OffsetDateTime, valid_from: Option<OffsetDateTime>) -> Result<()> {
        let now = now.unix_timestamp();
        let lifetime = self.expires_at - self.issued_at;
        let revoked = valid_from.is_some_and(|moment| self.issued_at < moment.unix_timestamp());
        let early = self.not_before > now + LEEWAY_SECS || self.issued_at > now + LEEWAY_SECS;
        if !(1..=MAX_LIFETIME_SECS).contains(&lifetime) || early || revoked {
            return Err(Error::unauthenticated());
        }
        if self.expires_at + LEEWAY_SECS < now {
            return Err(Error::refused(Code::TokenExpired, "the token has expired; ask for a new one"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    const HEADER: &str = r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k"}"#;
    const CLAIMS: &str =
        r#"{"iss":"cairn","aud":"cairn","sub":"s","jti":"j","iat":1000,"nbf":1000,"exp":1900,"scope":"a b"}"#;

    #[test]
    fn a_well_formed_token_reads_back() {
        let token = Token::parse(&token(HEADER, CLAIMS)).expect("parses");
        assert_eq!((token.kid.as_str(), token.claims.issuer.as_str()), ("k", "cairn"));
        assert_eq!(token.claims.list("scope"), ["a", "b"]);
        assert!(token.claims.is_for("cairn") && !token.claims.is_for("other"));
    }

    #[test]
    fn a_header_with_anything_beside_its_three_members_is_no_token() {
        for header in [
            r#"{"alg":"none","typ":"at+jwt","kid":"k"}"#,
            r#"{"alg":"EdDSA","kid":"k"}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt"}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k","jku":"https://evil.example"}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k","kid":"l"}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt","kid":7}"#,
        ] {
            assert!(Token::parse(&token(header, CLAIMS)).is_none(), "{header}");
        }
    }

    #[test]
    fn times_are_judged_with_thirty_seconds_of_leeway() {
        let claims = Token::parse(&token(HEADER, CLAIMS)).expect("parses").claims;
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).expect("a time");
        let code = |now, valid_from| claims.check_times(at(now), valid_from).err().map(|error| error.code());
        assert_eq!(code(970, None), None);
        assert_eq!(code(969, None), Some(Code::Unauthenticated));
        assert_eq!(code(1930, None), None);
        assert_eq!(code(1931, None), Some(Code::TokenExpired));
        assert_eq!(code(1500, Some(at(1000))), None);
        assert_eq!(code(1500, Some(at(1001))), Some(Code::Unauthenticated));
    }
}
