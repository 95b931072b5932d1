//! What routes share: errors as problem+json, JSON bodies, query parameters, pages, ETags.
//! Knows no feature.

mod access;
mod body;
mod cached;
mod error;
mod error_guide;
mod etag;
mod held;
mod idempotency;
mod page;
mod params;
mod render;
mod strict;

pub use body::{Body, FromBody};
pub use cached::cached;
pub use error::{Problem, Problems, allow};
pub use error_guide::error_guide;
pub use etag::{ETag, IfMatch};
pub use held::hold;
pub use idempotency::IdempotencySecret;
pub use page::{Limit, Page, PageRequest, cursor_binding};
pub use params::{Params, length_of_time};
pub use render::{Principal, RequestId, render_problems};
pub use strict::{close_bodies, free_optional_bodies};
