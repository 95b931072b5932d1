//! What routes share: errors as problem+json, JSON bodies, query parameters, pages, ETags.
//! Knows no feature.

mod body;
mod error;
mod etag;
mod idempotency;
mod page;
mod params;
mod render;

pub use body::{Body, FromBody};
pub use error::{Problem, Problems, allow};
pub use etag::{ETag, IfMatch};
pub use idempotency::IdempotencySecret;
pub use page::{Limit, Page, PageRequest, cursor_binding};
pub use params::Params;
pub use render::{Principal, RequestId, render_problems};
