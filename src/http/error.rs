//! The only place that knows status codes: one table gives each code its status and title.

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::error::{Code, Error, Invalid};

/// Name, status and title of a code. One code has one status.
pub(super) fn describe(code: Code) -> (&'static str, u16, &'static str) {
    match code {
        Code::BadRequest => ("bad_request", 400, "The request is malformed"),
        Code::InvalidJson => ("invalid_json", 400, "The body is not valid JSON"),
        Code::JsonTooDeep => ("json_too_deep", 400, "The JSON is nested too deeply"),
        Code::UnsupportedMediaType => ("unsupported_media_type", 415, "The media type is not supported"),
        Code::BodyTooLarge => ("body_too_large", 413, "The body is too large"),
        Code::HeaderTooLarge => ("header_too_large", 431, "The headers are too large"),
        Code::UriTooLong => ("uri_too_long", 414, "The URI is too long"),
        Code::RequestTimeout => ("request_timeout", 408, "The request did not arrive in time"),
        Code::MethodNotAllowed => ("method_not_allowed", 405, "The method is not allowed here"),
        Code::NotFound => ("not_found", 404, "Not found"),
        Code::UnknownField => ("unknown_field", 422, "A field is unknown"),
        Code::FieldMissing => ("field_missing", 422, "A field is missing"),
        Code::FieldEmpty => ("field_empty", 422, "A field is empty"),
        Code::FieldTooLong => ("field_too_long", 422, "A field is too long"),
        Code::InvalidType => ("invalid_type", 422, "A field has the wrong type"),
        Code::InvalidValue => ("invalid_value", 422, "A value is not allowed"),
        Code::InvalidId => ("invalid_id", 422, "An id is malformed"),
        Code::InvalidTimestamp => ("invalid_timestamp", 422, "A time is invalid"),
        Code::InvalidUnicode => ("invalid_unicode", 422, "A text cannot be stored"),
        Code::NumberOutOfRange => ("number_out_of_range", 422, "A number cannot be represented"),
        Code::OutOfRange => ("out_of_range", 422, "A number is out of range"),
        Code::TooManyItems => ("too_many_items", 422, "A list is too long"),
        Code::DuplicateItem => ("duplicate_item", 422, "Two items are the same"),
        Code::ContentTooLarge => ("content_too_large", 413, "The content is too large"),
        Code::MetadataTooLarge => ("metadata_too_large", 413, "The metadata is too large"),
        Code::BatchTooLarge => ("batch_too_large", 413, "The batch is too large"),
        Code::FilterTooComplex => ("filter_too_complex", 422, "The filter is too complex"),
        Code::InvalidCursor => ("invalid_cursor", 400, "The cursor is not valid here"),
        Code::IdempotencyKeyInvalid => ("idempotency_key_invalid", 400, "The Idempotency-Key is malformed"),
        Code::IdempotencyKeyReused => ("idempotency_key_reused", 422, "The Idempotency-Key belongs to another body"),
        Code::Unauthenticated => ("unauthenticated", 401, "Authentication is required"),
        Code::TokenExpired => ("token_expired", 401, "The token has expired"),
        Code::AmbiguousCredentials => ("ambiguous_credentials", 400, "More than one credential was sent"),
        Code::InsufficientScope => ("insufficient_scope", 403, "The credential lacks a scope"),
        Code::AgentMismatch => ("agent_mismatch", 403, "The credential does not act as this agent"),
        Code::RoleRequired => ("role_required", 403, "A higher role is required"),
        Code::NotAuthor => ("not_author", 403, "Only the author may do this"),
        Code::TenantSuspended => ("tenant_suspended", 403, "The tenant is suspended"),
        Code::IdTaken => ("id_taken", 409, "The id is taken"),
        Code::KeyTaken => ("key_taken", 409, "The key is taken"),
        Code::LastOwner => ("last_owner", 409, "A circle keeps its last owner"),
        Code::LimitReached => ("limit_reached", 409, "A limit is reached"),
        Code::SharedReadonly => ("shared_readonly", 409, "What was shared cannot be changed"),
        Code::WrongState => ("wrong_state", 409, "The state does not allow this"),
        Code::PreconditionFailed => ("precondition_failed", 412, "The resource has changed"),
        Code::QuotaExceeded => ("quota_exceeded", 429, "A quota is used up"),
        Code::RateLimited => ("rate_limited", 429, "Too many requests"),
        Code::IdempotencyInProgress => ("idempotency_in_progress", 409, "The same write is still running"),
        Code::Gone => ("gone", 410, "The resource is gone"),
        Code::EmbeddingUnavailable => ("embedding_unavailable", 503, "Embedding is unavailable"),
        Code::EmbeddingModelMismatch => ("embedding_model_mismatch", 503, "The embedding model does not match"),
        Code::DependencyUnavailable => ("dependency_unavailable", 503, "A dependency is unavailable"),
        Code::Overloaded => ("overloaded", 503, "The server is overloaded"),
        Code::Timeout => ("timeout", 504, "The request took too long"),
        Code::Internal => ("internal", 500, "Internal error"),
    }
}

/// Seconds after which trying again makes sense, for answers that say so.
pub(super) fn retry_after(code: Code) -> Option<u16> {
    match code {
        Code::Overloaded | Code::DependencyUnavailable | Code::IdempotencyInProgress => Some(1),
        // At least: the error itself says how long.
        Code::RateLimited => Some(1),
        Code::EmbeddingUnavailable => Some(5),
        Code::EmbeddingModelMismatch => Some(60),
        _ => None,
    }
}

/// An error as RFC 9457 describes it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: `code` tells what happened.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    /// Stable and machine-readable.
    #[schema(example = "out_of_range")]
    code: &'static str,
    /// What was wrong and what to do, for people.
    detail: String,
    request_id: String,
    /// What was wrong with which field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldProblem>,
}

#[derive(Debug, Serialize, ToSchema)]
struct FieldProblem {
    /// A JSON pointer into the body, or the name of a parameter.
    #[schema(example = "/memories/3/content")]
    pointer: String,
    #[schema(example = "field_empty")]
    code: &'static str,
    detail: String,
}

impl From<&Invalid> for FieldProblem {
    fn from(invalid: &Invalid) -> Self {
        Self { pointer: invalid.pointer.clone(), code: describe(invalid.code).0, detail: invalid.detail.clone() }
    }
}

impl Error {
    /// The answer to the client. Causes stay in the log.
    pub fn answer(&self, request_id: &str) -> HttpResponse {
        let (code, status, title) = describe(self.code());
        let errors = match self {
            Self::Invalid(all) => all.iter().filter(|one| !one.pointer.is_empty()).map(FieldProblem::from).collect(),
            _ => Vec::new(),
        };
        let problem = Problem {
            kind: "about:blank",
            title,
            status,
            code,
            detail: self.to_string(),
            request_id: request_id.to_owned(),
            errors,
        };
        let mut response = HttpResponse::build(self.status_code());
        response.content_type("application/problem+json");
        let seconds = match self {
            Self::Limited { retry_after_secs, .. } => Some(*retry_after_secs),
            _ => retry_after(self.code()).map(u64::from),
        };
        if let Some(seconds) = seconds {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        if status == 401 {
            response.insert_header(("WWW-Authenticate", "Bearer"));
        }
        response.body(serde_json::to_vec(&problem).unwrap_or_default())
    }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(describe(self.code()).1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Reached only outside the middleware that knows the request id.
    fn error_response(&self) -> HttpResponse {
        self.answer("")
    }
}

/// Adds the methods a path does answer.
pub fn allow(response: &mut HttpResponse, methods: &str) {
    if let Ok(value) = HeaderValue::from_str(methods) {
        response.headers_mut().insert(ALLOW, value);
    }
}

/// Documents every error answer once: `responses(..., Problems)`.
pub struct Problems;

impl IntoResponses for Problems {
    fn responses() -> std::collections::BTreeMap<String, RefOr<Response>> {
        let problem = |description: &str| {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            RefOr::T(
                ResponseBuilder::new().description(description).content("application/problem+json", content).build(),
            )
        };
        [
            (
                "400",
                "The request is malformed: `invalid_json`, `json_too_deep`, `invalid_cursor`, `ambiguous_credentials`, \
                 `idempotency_key_invalid`",
            ),
            ("401", "No valid credential: `unauthenticated`, `token_expired`"),
            ("403", "Not allowed: `insufficient_scope`, `agent_mismatch`, `not_author`, `tenant_suspended`"),
            ("404", "No such thing, or not yours: `not_found`"),
            ("409", "In the way of what is there: `key_taken`, `id_taken`, `wrong_state`, `idempotency_in_progress`"),
            ("410", "A write sent again, whose result is gone since: `gone`"),
            ("412", "The resource has changed: `precondition_failed`"),
            ("413", "Too large: `body_too_large`, `content_too_large`, `metadata_too_large`, `batch_too_large`"),
            ("415", "Not `application/json`: `unsupported_media_type`"),
            ("422", "A field is wrong (`errors` says which and why), or `idempotency_key_reused`"),
            ("429", "Too much: `quota_exceeded`; too much at once: `rate_limited`"),
            ("503", "Try again later: `overloaded`, `dependency_unavailable`, `embedding_unavailable`"),
        ]
        .into_iter()
        .map(|(status, description)| (status.to_owned(), problem(description)))
        .collect()
    }
}
