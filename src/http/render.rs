//! The outermost middleware: gives every request an id, and every error the form of a problem. What is told of a
//! request at its end is told from here.

use std::time::Instant;

use actix_web::HttpMessage;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use actix_web::middleware::Next;
use tracing::Instrument;
use uuid::Uuid;

use crate::db::Idempotency;
use crate::error::{Code, Error};
use crate::http::access::Access;
use crate::rates::Standing;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// What `X-Request-Id` and a problem's `request_id` say.
#[derive(Clone)]
pub struct RequestId(pub String);

/// Who called, left in the request by authentication for the log.
#[derive(Clone)]
pub struct Principal {
    pub tenant: String,
    pub principal: String,
}

pub async fn render_problems(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let access = Access::begin(&request);
    let id = RequestId(Uuid::now_v7().to_string());
    request.extensions_mut().insert(id.clone());
    // Nothing may hold on to the request while the router works: it writes into it.
    let response = match acceptable_head(&request) {
        Ok(()) => next.call(request).instrument(access.span()).await?.map_into_boxed_body(),
        Err(error) => request.error_response(error),
    };
    let mut response = problem_of(response, &id);
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let standing = response.request().extensions().get::<Standing>().cloned();
    if let Some(standing) = standing {
        limits(&mut response, &standing);
    }
    let replayed = response.request().extensions().get::<Idempotency>().is_some_and(Idempotency::is_replay);
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    access.end(&response, &id);
    Ok(response)
}

/// The limits in force and what is left of them, whatever the answer is.
fn limits(response: &mut ServiceResponse, standing: &Standing) {
    for (name, value) in [(RATE_LIMIT_POLICY, standing.policy()), (RATE_LIMIT, standing.state(Instant::now()))] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
}

/// Sizes of the head, and the two lengths that request smuggling is made of.
fn acceptable_head(request: &ServiceRequest) -> Result<(), Error> {
    let uri = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if uri > MAX_HEAD_BYTES {
        return Err(Error::refused(Code::UriTooLong, "the URI may have 8 KiB"));
    }
    let headers: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if headers > MAX_HEAD_BYTES {
        return Err(Error::refused(Code::HeaderTooLarge, "all headers together may have 8 KiB"));
    }
    if request.headers().contains_key(CONTENT_LENGTH) && request.headers().contains_key(TRANSFER_ENCODING) {
        return Err(Error::refused(Code::BadRequest, "Content-Length and Transfer-Encoding exclude each other"));
    }
    Ok(())
}

/// Errors raised by handlers, extractors and middleware arrive inside a response.
fn problem_of(response: ServiceResponse, id: &RequestId) -> ServiceResponse {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let Some(error) = response.response().error() else {
        return response;
    };
    let answer = match error.as_error::<Error>() {
        Some(error) => {
            log_failure(error, id);
            error.answer(&id.0)
        }
        None => foreign(status.as_u16(), &error.to_string()).answer(&id.0),
    };
    let (http, _) = response.into_parts();
    ServiceResponse::new(http, answer)
}

/// What actix refuses by itself, in our words.
fn foreign(status: u16, detail: &str) -> Error {
    let code = match status {
        404 => Code::NotFound,
        405 => Code::MethodNotAllowed,
        408 => Code::RequestTimeout,
        413 => Code::BodyTooLarge,
        414 => Code::UriTooLong,
        415 => Code::UnsupportedMediaType,
        431 => Code::HeaderTooLarge,
        400..=499 => Code::BadRequest,
        _ => return Error::Internal(anyhow::anyhow!("{detail}")),
    };
    Error::refused(code, detail)
}

/// The one place where failures are logged, with all their causes.
fn log_failure(error: &Error, id: &RequestId) {
    match error {
        Error::Internal(cause) => tracing::error!(request_id = %id.0, cause = format!("{cause:#}"), "internal error"),
        Error::Unavailable { detail, cause, .. } => {
            tracing::warn!(request_id = %id.0, cause = format!("{cause:#}"), "{detail}");
        }
        _ => {}
    }
}
