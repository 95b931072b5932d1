//! Keyset pages. A cursor is a position with a MAC over it and over everything it belongs to:
//! tenant, principal, path and all other parameters. Nobody can make, move or keep one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

use crate::error::{Code, Error, Invalid, Result};
use crate::http::Params;
use crate::secrets::SecretKey;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;
const MAX_CURSOR_CHARS: usize = 512;
const LIFETIME: Duration = Duration::hours(24);
const MAC_BYTES: usize = 16;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Ask again with `cursor` set to this; null on the last page.
    pub next_cursor: Option<String>,
}

/// How many items a page holds.
#[derive(Debug, Clone, Copy)]
pub struct Limit(usize);

impl Limit {
    pub fn get(self) -> usize {
        self.0
    }

    /// One more than the page holds tells whether there is a next one.
    pub fn probe(self) -> i64 {
        self.0 as i64 + 1
    }

    fn parse(raw: &str) -> Result<Self, Invalid> {
        match raw.parse::<i64>() {
            Ok(limit) if (1..=MAX_LIMIT as i64).contains(&limit) => Ok(Self(limit as usize)),
            Ok(_) => Err(Invalid::new(Code::OutOfRange, format!("must be 1 to {MAX_LIMIT}"))),
            Err(_) => Err(Invalid::new(Code::InvalidType, "must be a whole number")),
        }
    }
}

/// `limit` and `cursor` of a request. The binding says what the cursor is good for.
pub struct PageRequest {
    pub limit: Limit,
    /// Where the previous page ended.
    pub after: Option<String>,
    binding: Vec<u8>,
    now: OffsetDateTime,
}

/// What a cursor belongs to, besides its position.
pub fn cursor_binding(tenant: &str, principal: &str, path: &str, query: &str) -> Vec<u8> {
    let mut others: Vec<&str> =
        query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("cursor=")).collect();
    others.sort_unstable();
    [tenant, principal, path, &others.join("&")].join("\n").into_bytes()
}

impl PageRequest {
    /// `now` is the database's clock: instances need not agree on the time.
    pub fn read(params: &mut Params, key: &SecretKey, binding: Vec<u8>, now: OffsetDateTime) -> Result<Self> {
        let limit = params.one("limit", Limit::parse).unwrap_or(Limit(DEFAULT_LIMIT));
        let after = match params.one("cursor", |raw| Ok(raw.to_owned())) {
            Some(cursor) => Some(open(key, &binding, now, &cursor).ok_or_else(|| {
                Error::refused(
                    Code::InvalidCursor,
                    "the cursor does not belong to this request, or is older than a day; start over",
                )
            })?),
            None => None,
        };
        Ok(Self { limit, after, binding, now })
    }

    /// Cuts the probing item off and makes the cursor out of the last one kept.
    pub fn page<T>(&self, key: &SecretKey, mut items: Vec<T>, position: impl Fn(&T) -> String) -> Result<Page<T>> {
        let more = items.len() > self.limit.get();
        items.truncate(self.limit.get());
        let next_cursor = match items.last() {
            Some(last) if more => Some(seal(key, &self.binding, self.now, &position(last))?),
            _ => None,
        };
        Ok(Page { items, next_cursor })
    }
}

fn seal(key: &SecretKey, binding: &[u8], now: OffsetDateTime, position: &str) -> Result<String> {
    let expiry = (now + LIFETIME).unix_timestamp().to_le_bytes();
    let mut cursor = [expiry.as_slice(), position.as_bytes()].concat();
    let mac = mac(key, binding, &cursor)?.finalize().into_bytes();
    cursor.extend_from_slice(&mac[..MAC_BYTES]);
    Ok(URL_SAFE_NO_PAD.encode(cursor))
}

fn open(key: &SecretKey, binding: &[u8], now: OffsetDateTime, cursor: &str) -> Option<String> {
    if cursor.len() > MAX_CURSOR_CHARS {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (signed, tag) = bytes.split_at_checked(bytes.len().checked_sub(MAC_BYTES)?)?;
    mac(key, binding, signed).ok()?.verify_truncated_left(tag).ok()?;
    let (expiry, position) = signed.split_first_chunk::<8>()?;
    if i64::from_le_bytes(*expiry) < now.unix_timestamp() {
        return None;
    }
    String::from_utf8(position.to_vec()).ok()
}

fn mac(key: &SecretKey, binding: &[u8], signed: &[u8]) -> Result<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.bytes()).map_err(|error| Error::Internal(error.into()))?;
    mac.update(&(binding.len() as u64).to_le_bytes());
    mac.update(binding);
    mac.update(signed);
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_opens_only_where_it_was_made() {
        let key = SecretKey::random();
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        let here = cursor_binding("t", "k", "/v1/agents", "limit=2&b=1");
        let cursor = seal(&key, &here, now, "ada").expect("seals");
        let open = |binding: &[u8], now, cursor: &str| open(&key, binding, now, cursor);

        assert_eq!(open(&here, now, &cursor).as_deref(), Some("ada"));
        assert_eq!(here, cursor_binding("t", "k", "/v1/agents", "b=1&cursor=x&limit=2"));
        for elsewhere in [
            cursor_binding("u", "k", "/v1/agents", "limit=2&b=1"),
            cursor_binding("t", "j", "/v1/agents", "limit=2&b=1"),
            cursor_binding("t", "k", "/v1/circles", "limit=2&b=1"),
            cursor_binding("t", "k", "/v1/agents", "limit=3&b=1"),
        ] {
            assert_eq!(open(&elsewhere, now, &cursor), None);
        }
        assert_eq!(open(&here, now + Duration::hours(25), &cursor), None);
    }

    #[test]
    fn a_cursor_with_any_bit_flipped_is_refused() {
        let key = SecretKey::random();
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        let cursor = seal(&key, b"here", now, "ada").expect("seals");
        let bytes = URL_SAFE_NO_PAD.decode(&cursor).expect("decodes");
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&key, b"here", now, &URL_SAFE_NO_PAD.encode(forged)), None, "bit {bit}");
        }
    }
}
