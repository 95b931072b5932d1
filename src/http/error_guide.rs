//! The guide to errors, `docs/errors.md`: what each code means and what to do about it.

use std::fmt::Write;

use actix_web::body::MessageBody;
use strum::VariantArray;

use crate::error::{Code, Error, Invalid};
use crate::http::error::{describe, retry_after};

const HEAD: &str = "# Errors

Every error is `application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)), as:

```json
";

const RULES: &str = "
```

Decide by `code`: it is stable and has one status. `detail` is for people and may change. Where fields are wrong, `errors` lists
every complaint at once, each with a JSON pointer into the body or the name of a parameter; the codes in it are from the table
below, and the first one is the code of the whole. `request_id` is also in the header `X-Request-Id` and in the server's log.
What is marked *retry* may succeed when the same request is sent again; a number is the `Retry-After` of the answer, in seconds.

This page is written by `make openapi`, from the table that the server answers with.

| status | code | title | when, and what to do | retry |
|---|---|---|---|---|
";

/// The whole page, in Markdown.
pub fn error_guide() -> String {
    let mut codes = Code::VARIANTS.to_vec();
    // A stable sort: within a status, the order in which the codes are listed.
    codes.sort_by_key(|code| describe(*code).1);
    let mut page = [HEAD, &example(), RULES].concat();
    for code in codes {
        let (name, status, title) = describe(code);
        let retry = match (retry_after(code), may_pass(code)) {
            (Some(seconds), _) => seconds.to_string(),
            (None, true) => "yes".into(),
            (None, false) => String::new(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(page, "| {status} | `{name}` | {title} | {} | {retry} |", meaning(code));
    }
    page.truncate(page.trim_end().len());
    page
}

/// What the server itself would answer.
fn example() -> String {
    let invalid = Invalid::new(Code::OutOfRange, "must be a whole number from 1 to 100").under("k");
    let answer = Error::from(invalid).answer("019dbd4e-7e11-7b0c-9a53-0f9d3b1c7a55");
    let body = answer.into_body().try_into_bytes().unwrap_or_default();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    format!("{problem:#}")
}

/// Codes that do not ask to be tried again in so many seconds, and yet need nothing to change.
fn may_pass(code: Code) -> bool {
    matches!(code, Code::RequestTimeout | Code::Timeout)
}

fn meaning(code: Code) -> &'static str {
    match code {
        Code::BadRequest => "HTTP itself is broken: two lengths, a body that broke off. Look at the client or a proxy.",
        Code::InvalidJson => {
            "Bad syntax, invalid UTF-8, a lone surrogate, a key twice in one object, no body. `detail` says where."
        }
        Code::JsonTooDeep => "More levels of nesting than the route takes. Flatten it.",
        Code::UnsupportedMediaType => {
            "Send `Content-Type: application/json` (PATCH also takes `application/merge-patch+json`), plain or gzip."
        }
        Code::BodyTooLarge => "The body, unpacked, is larger than 1 MiB (a batch: 4 MiB). Send less at once.",
        Code::HeaderTooLarge => "All headers together may have 8 KiB.",
        Code::UriTooLong => "The path with its query may have 8 KiB.",
        Code::RequestTimeout => "The body did not arrive in time. Send it faster or send less.",
        Code::MethodNotAllowed => "The path exists, the method does not. `Allow` lists those that do.",
        Code::NotFound => "It does not exist, is gone, or belongs to somebody else: which of them is not told.",
        Code::UnknownField => "The request has a field or parameter that this route does not know. Often a typo.",
        Code::FieldMissing => "The field is required.",
        Code::FieldEmpty => "A text of nothing but white space, a list without items, a filter without conditions.",
        Code::FieldTooLong => "The text is longer than this field may be. `detail` gives the bound.",
        Code::InvalidType => "A string where a number belongs, or the like. `detail` names both.",
        Code::InvalidValue => "The type is right, the value is none of those allowed. `detail` lists them.",
        Code::InvalidId => {
            "Ids of agents are 1 to 128 of `A-Z a-z 0-9 . _ : @ -`, the first a letter or digit; other ids are UUIDs."
        }
        Code::InvalidTimestamp => {
            "Times are RFC 3339 with a zone, as `2026-01-31T12:00:00Z`; an expiry lies in the future."
        }
        Code::InvalidUnicode => "The text has U+0000, or a parameter is no UTF-8. Remove it.",
        Code::NumberOutOfRange => {
            "The number is neither a finite double nor a signed 64-bit integer: it would not come back as sent."
        }
        Code::OutOfRange => "The number is outside the bounds that `detail` gives.",
        Code::TooManyItems => "The list is longer than allowed. `detail` gives the bound.",
        Code::DuplicateItem => "Two items of a batch have the same key, or a parameter is given twice.",
        Code::ContentTooLarge => "A memory may have 32 KiB. Split it.",
        Code::MetadataTooLarge => "The metadata may have 16 KiB. Keep what is large elsewhere and refer to it.",
        Code::BatchTooLarge => "A batch may have 100 memories. Send several.",
        Code::FilterTooComplex => "A filter may have 16 conditions, each with 100 alternatives.",
        Code::InvalidCursor => {
            "The cursor was changed, is older than a day, or belongs to another request. Start over without it."
        }
        Code::Unauthenticated => {
            "No credential, or none that is valid: unknown, mistyped, revoked or expired. Which one is not told."
        }
        Code::TokenExpired => "The token was valid and no longer is. Ask for a new one.",
        Code::AmbiguousCredentials => "Send one `Authorization` header.",
        Code::InsufficientScope => "The credential is valid and may not do this. `detail` names the scope it lacks.",
        Code::AgentMismatch => "`Cairn-Agent` names another agent than the path or the credential does.",
        Code::RoleRequired => "The acting agent's role in the circle is too low.",
        Code::NotAuthor => "Only the agent that remembers it may change or forget it. Act as that agent, or as none.",
        Code::TenantSuspended => "The operator has suspended the tenant.",
        Code::IdTaken => "Something else has this id or name. Choose another.",
        Code::Gone => "A replayed write whose resource has been deleted since. Nothing was written this time.",
        Code::IdempotencyKeyInvalid => "Send one `Idempotency-Key` of 1 to 255 visible ASCII characters.",
        Code::IdempotencyKeyReused => "The key was used for another body within a day. Use a new key for a new write.",
        Code::IdempotencyInProgress => "The same write is still running. Send it again after `Retry-After`.",
        Code::LastOwner => "The circle would be left without an owner. Make another member owner first.",
        Code::LimitReached => {
            "An agent may be in 64 circles, and a circle may have 10,000 members. `detail` says which it is."
        }
        Code::SharedReadonly => {
            "The author left a circle that it shared this memory with, or only reads there now. `detail` names the circles; until an owner unshares it there, the memory can be forgotten but not changed."
        }
        Code::WrongState => "It is in a state that does not allow this. `detail` says which.",
        Code::QuotaExceeded => {
            "The tenant has all that it may have. Forget something, or ask the operator for more; trying again does not help."
        }
        Code::RateLimited => {
            "More than the tenant or this credential may ask for in a time. `detail` says which limit; wait for `Retry-After`."
        }
        Code::KeyTaken => "Another memory of the agent has this key. Change or forget that one, or choose another key.",
        Code::PreconditionFailed => "It has changed since the ETag in `If-Match` was read. Read it again, then decide.",
        Code::EmbeddingUnavailable => "The text could not be embedded in time. Nothing was stored.",
        Code::EmbeddingModelMismatch => {
            "The server runs another embedding model than the one the tenant was filled with. Tell the operator."
        }
        Code::DependencyUnavailable => {
            "The database cannot be reached. Whether a write took effect is not known; remembering with a key, or the same text, is safe to repeat."
        }
        Code::Overloaded => "All connections are busy, or too many write the same thing at once. Nothing was stored.",
        Code::Timeout => "The database took too long. Ask for less, or try again.",
        Code::Internal => "A fault of the server, which has logged it. Report the `request_id`.",
    }
}
