//! The limits in force for a call and what is left of them, in the header fields of
//! draft-ietf-httpapi-ratelimit-headers.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use crate::rates::meter::Meter;
use crate::rates::rule::{By, Rate, Resource};

/// All limits in force for a call.
#[derive(Clone)]
pub struct Standing(Arc<[Line]>);

/// One limit: of a resource, for whoever the meter counts.
#[derive(Clone)]
pub struct Line {
    pub resource: Resource,
    pub most: NonZeroU32,
    /// What this instance may give away of it by itself; of rates, all of it.
    pub share: u32,
    pub meter: Arc<Meter>,
}

impl Standing {
    pub fn new(lines: Vec<Line>) -> Self {
        Self(lines.into())
    }

    /// `RateLimit-Policy`.
    pub fn policy(&self) -> String {
        self.0.iter().map(Line::policy).collect::<Vec<_>>().join(", ")
    }

    /// `RateLimit`, as things are now.
    pub fn state(&self, now: Instant) -> String {
        self.0.iter().map(|line| line.state(now)).collect::<Vec<_>>().join(", ")
    }
}

impl Line {
    pub fn by(&self) -> By {
        self.meter.payer.by()
    }

    /// The limit in words.
    pub fn describe(&self) -> String {
        let who = match self.by() {
            By::Tenant => "this tenant",
            By::Principal => "this credential",
        };
        let most = self.most;
        match self.resource {
            Resource::Requests => format!("{who} may make {most} requests a second"),
            Resource::Concurrency => format!("{who} may have {most} requests under way at once"),
            Resource::Tokens => format!("{who} may have {most} tokens embedded a minute"),
        }
    }

    fn policy(&self) -> String {
        let (by, resource, most) = (self.by().name(), self.resource.name(), self.most);
        match self.resource {
            Resource::Requests => format!("\"{by}-{resource}\";q={most};w=1"),
            Resource::Concurrency => format!("\"{by}-{resource}\";q={most};qu=\"concurrent-requests\""),
            Resource::Tokens => format!("\"{by}-{resource}\";q={most};w=60;qu=\"embedding-tokens\""),
        }
    }

    fn state(&self, now: Instant) -> String {
        let (by, resource) = (self.by().name(), self.resource.name());
        if self.resource == Resource::Concurrency {
            let left = self.share.saturating_sub(self.meter.running());
            return format!("\"{by}-{resource}\";r={left}");
        }
        let bucket = self.meter.bucket(self.resource);
        let most = u64::from(self.most.get());
        let left = bucket.left().min(most);
        let seconds = match bucket.refused_until(now) {
            Some(until) => seconds_until(until, now),
            None => {
                let window = Rate::of(self.resource, self.most).window.as_secs();
                (window * (most - left)).div_ceil(most).max(1)
            }
        };
        format!("\"{by}-{resource}\";r={left};t={seconds}")
    }
}

/// Whole seconds, at least one.
pub fn seconds_until(until: Instant, now: Instant) -> u64 {
    (until.saturating_duration_since(now).as_millis() as u64).div_ceil(1_000).max(1)
}
