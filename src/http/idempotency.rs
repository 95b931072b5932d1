//! The `Idempotency-Key` header. A writing route takes part by naming `Idempotency` among its extractors
//! and its `params(...)`, and its service by two calls: `tx.claim(&once)` right after the transaction opened
//! (with a receipt, answer with what is there now, `Error::gone` for what is not), and `tx.record(&receipt)`
//! before the commit. `Idempotency-Replayed` then comes by itself. A receipt holds ids, outcomes, counts: no content.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Type};

use crate::db::{Fingerprint, Idempotency};
use crate::error::{Code, Error, Result};
use crate::json::Json;
use crate::secrets::SecretKey;

const HEADER: &str = "idempotency-key";
const MAX_CHARS: usize = 255;

/// Keys the fingerprints; without it nothing can be told from what is stored. The same on every instance.
pub struct IdempotencySecret(SecretKey);

impl IdempotencySecret {
    pub fn of(server_secret: &SecretKey) -> Result<Self> {
        Ok(Self(server_secret.derive("idempotency")?))
    }

    fn fingerprint(&self, parts: &[&[u8]]) -> Result<Fingerprint> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.bytes()).map_err(|error| Error::Internal(error.into()))?;
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        Ok(mac.finalize().into_bytes().into())
    }
}

impl FromRequest for Idempotency {
    type Error = Error;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let once = read(request);
        if let Ok(once) = &once {
            // For the body, which is read later, and for the answer.
            request.extensions_mut().insert(once.clone());
        }
        ready(once)
    }
}

fn read(request: &HttpRequest) -> Result<Idempotency> {
    let mut headers = request.headers().get_all(HEADER);
    let Some(header) = headers.next() else {
        return Ok(Idempotency::default());
    };
    let fits = (1..=MAX_CHARS).contains(&header.len()) && header.as_bytes().iter().all(|b| (b' '..=b'~').contains(b));
    if !fits || headers.next().is_some() {
        let detail = format!("send one Idempotency-Key of 1 to {MAX_CHARS} visible ASCII characters");
        return Err(Error::refused(Code::IdempotencyKeyInvalid, detail));
    }
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    let parts = [header.as_bytes(), request.method().as_str().as_bytes(), path.as_bytes()];
    Ok(Idempotency::keyed(secret(request)?.fingerprint(&parts)?))
}

fn secret(request: &HttpRequest) -> Result<&IdempotencySecret> {
    let secret = request.app_data::<Data<IdempotencySecret>>().map(|data| &***data);
    secret.ok_or_else(|| Error::Internal(anyhow::anyhow!("no IdempotencySecret in the server")))
}

/// Tells the write of this request, if it is one with a key, what its body says.
pub(super) fn note_body(request: &HttpRequest, json: &Json<'_>) -> Result<()> {
    let once = request.extensions().get::<Idempotency>().filter(|once| once.is_keyed()).cloned();
    if let Some(once) = once {
        let mut canonical = Vec::new();
        write_canonical(json, &mut canonical);
        once.set_body(secret(request)?.fingerprint(&[&canonical])?);
    }
    Ok(())
}

/// Equal for bodies that mean the same: neither spaces, nor the order of members, nor the spelling of a number counts.
fn write_canonical(json: &Json<'_>, out: &mut Vec<u8>) {
    fn text(mark: char, text: &str, out: &mut Vec<u8>) {
        out.extend(format!("{mark}{}:{text}", text.len()).bytes());
    }
    match json {
        Json::Null => out.push(b'z'),
        Json::Bool(flag) => out.push(if *flag { b't' } else { b'f' }),
        Json::Int(number) => text('n', &number.to_string(), out),
        Json::BigInt(number) => text('n', &number.to_string(), out),
        Json::Float(number) => text('n', &number.to_string(), out),
        Json::Str(string) => text('s', string, out),
        Json::Array(items) => {
            out.push(b'[');
            items.iter().for_each(|item| write_canonical(item, out));
            out.push(b']');
        }
        Json::Object(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            out.push(b'{');
            for (key, value) in entries {
                text('s', key, out);
                write_canonical(value, out);
            }
            out.push(b'}');
        }
    }
}

impl IntoParams for Idempotency {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(MAX_CHARS))
            // Spaces at either end are HTTP's and not part of a value.
            .pattern(Some("^[!-~]([ -~]*[!-~])?$"));
        let description = "Send the same value with the same request again, for up to a day, and it has no second \
            effect: the answer has the status of the first and the resource as it is now, with \
            `Idempotency-Replayed: true`.";
        let header = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .description(Some(description))
            .schema(Some(schema));
        vec![header.build()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(body: &str) -> Vec<u8> {
        let mut out = Vec::new();
        write_canonical(&Json::parse(body.as_bytes(), false).expect("JSON"), &mut out);
        out
    }

    #[test]
    fn bodies_that_mean_the_same_are_the_same() {
        assert_eq!(
            canonical(r#"{"b":[1,"x"],"a":{"d":1.0,"c":null}}"#),
            canonical(r#" {"a":{"c":null,"d":1}, "b":[1, "\u0078"]}"#)
        );
    }

    #[test]
    fn bodies_that_differ_are_not_the_same() {
        let bodies = [
            r#"{"a":"b"}"#,
            r#"{"a":["b"]}"#,
            r#"{"a":"c"}"#,
            r#"["a","b"]"#,
            r#"["as1:b"]"#,
            r#"["1"]"#,
            "[1]",
            "[null]",
            "[[]]",
            "[]",
            "{}",
        ];
        for (index, one) in bodies.iter().enumerate() {
            for other in &bodies[index + 1..] {
                assert_ne!(canonical(one), canonical(other), "{one} {other}");
            }
        }
    }
}
