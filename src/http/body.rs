//! JSON bodies: size, deadline, media type and syntax are settled before a handler runs.

use std::future::Future;
use std::io::Read;
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use actix_web::web::{BytesMut, Data};
use actix_web::{FromRequest, HttpRequest};
use flate2::read::GzDecoder;
use futures_util::StreamExt;

use crate::config::{Config, Limits};
use crate::error::{Code, Error, Invalid, Result};
use crate::http::idempotency::note_body;
use crate::json::{self, FromJson};

/// A type that may be the body of a request.
pub trait FromBody: FromJson {
    const MAX_DEPTH: usize = json::MAX_DEPTH;
    /// The body is a merge patch (RFC 7396).
    const IS_PATCH: bool = false;
    /// No body at all is an empty object.
    const IS_OPTIONAL: bool = false;

    fn max_bytes(limits: &Limits) -> usize {
        limits.body_bytes
    }

    /// Holds what was read against the limits of the settings; the type itself knows those of the contract.
    fn check(&self, _: &Limits) -> Result<(), Vec<Invalid>> {
        Ok(())
    }
}

/// The parsed body. Put it last in a handler: what comes first refuses strangers before a byte is read.
pub struct Body<T>(pub T);

impl<T: FromBody + 'static> FromRequest for Body<T> {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let payload = payload.take();
        Box::pin(async move {
            let absent = T::IS_OPTIONAL && is_absent(&request);
            if !absent {
                check_media_type(&request, T::IS_PATCH)?;
            }
            let config = request.app_data::<Data<Config>>();
            let config = config.ok_or_else(|| Error::Internal(anyhow::anyhow!("no settings in the server")))?;
            let (deadline, most) = (config.http.body_deadline_secs, T::max_bytes(&config.limits));
            let bytes =
                tokio::time::timeout(Duration::from_secs(deadline), read(&request, payload, most)).await.map_err(
                    |_| Error::refused(Code::RequestTimeout, format!("the body did not arrive within {deadline} s")),
                )??;
            let json = json::parse(if absent { b"{}" } else { &bytes }, T::MAX_DEPTH)?;
            note_body(&request, &json)?;
            let body = T::from_json(&json)?;
            body.check(&config.limits)?;
            Ok(Self(body))
        })
    }
}

fn is_absent(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let length = headers.get(CONTENT_LENGTH).map(|value| value.as_bytes());
    matches!(length, None | Some(b"0")) && !headers.contains_key(TRANSFER_ENCODING)
}

fn check_media_type(request: &HttpRequest, is_patch: bool) -> Result<()> {
    let header = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media == "application/json" || (is_patch && media == "application/merge-patch+json") {
        return Ok(());
    }
    Err(Error::refused(Code::UnsupportedMediaType, "send Content-Type: application/json"))
}

async fn read(request: &HttpRequest, mut payload: Payload, max_bytes: usize) -> Result<Vec<u8>> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let declared: usize = header(CONTENT_LENGTH).and_then(|text| text.parse().ok()).unwrap_or(0);
    if declared > max_bytes {
        return Err(too_large(max_bytes));
    }
    let mut bytes = BytesMut::with_capacity(declared);
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| Error::refused(Code::BadRequest, format!("the body broke off: {error}")))?;
        if bytes.len() + chunk.len() > max_bytes {
            return Err(too_large(max_bytes));
        }
        bytes.extend_from_slice(&chunk);
    }
    match header(CONTENT_ENCODING).map(str::to_ascii_lowercase).as_deref() {
        None | Some("identity") => Ok(bytes.to_vec()),
        Some("gzip") => gunzip(&bytes, max_bytes),
        Some(_) => Err(Error::refused(Code::UnsupportedMediaType, "Content-Encoding may be gzip or identity")),
    }
}

/// Never unpacks more than a plain body might have held.
fn gunzip(bytes: &[u8], max_bytes: usize) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    GzDecoder::new(bytes)
        .take(max_bytes as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|error| Invalid::new(Code::InvalidJson, format!("the body is not gzip: {error}")))?;
    if plain.len() > max_bytes { Err(too_large(max_bytes)) } else { Ok(plain) }
}

fn too_large(max_bytes: usize) -> Error {
    Error::refused(Code::BodyTooLarge, format!("the body may have {} KiB", max_bytes / 1024))
}
