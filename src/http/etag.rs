//! ETags and If-Match: a write on condition that nothing else happened in between.

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::IF_MATCH;
use actix_web::{FromRequest, HttpRequest};
use uuid::Uuid;

use crate::error::{Code, Error, Result};

/// A strong tag: the incarnation and its version, so that a recreated id never matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ETag {
    pub incarnation: Uuid,
    pub version: i32,
}

impl fmt::Display for ETag {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{}-{}\"", self.incarnation.simple(), self.version)
    }
}

/// The condition of a PATCH or DELETE, if there is one.
#[derive(Debug, Clone, Default)]
pub struct IfMatch(Option<String>);

impl IfMatch {
    pub fn check(&self, current: ETag) -> Result<()> {
        let Some(wanted) = &self.0 else {
            return Ok(());
        };
        let current = current.to_string();
        if wanted.trim() == "*" || wanted.split(',').any(|tag| tag.trim() == current) {
            return Ok(());
        }
        Err(Error::refused(Code::PreconditionFailed, "the resource has changed since; read it again"))
    }
}

impl FromRequest for IfMatch {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let header = request.headers().get(IF_MATCH);
        // What cannot be read cannot match either.
        ready(Ok(Self(header.map(|value| value.to_str().unwrap_or_default().to_owned()))))
    }
}
