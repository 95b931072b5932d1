//! From when to when, in what steps, and what is read of it.

use serde::Serialize;
use sqlx::FromRow;
use time::{Date, Duration, OffsetDateTime};
use utoipa::ToSchema;

use crate::cache::Digest;
use crate::ids::ScopeId;

/// What rows are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Grain {
    Minute,
    Hour,
    Day,
}

impl Grain {
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// How long rows are kept.
    pub fn kept(self) -> Duration {
        match self {
            Self::Minute => Duration::days(8),
            Self::Hour => Duration::days(100),
            Self::Day => Duration::days(800),
        }
    }
}

/// From the beginning of a step to a moment, in steps that begin at multiples of their length since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from: OffsetDateTime,
    pub to: OffsetDateTime,
    pub step: Duration,
}

impl Span {
    /// Of a window that ends now, including the whole of the step in which it begins.
    pub fn back(now: OffsetDateTime, window: Duration, step: Duration) -> Self {
        let (begin, length) = ((now - window).unix_timestamp(), step.whole_seconds().max(1));
        let from = OffsetDateTime::UNIX_EPOCH + Duration::seconds(begin.div_euclid(length) * length);
        Self { from, to: now, step }
    }

    /// The same, for sums: in steps that cost little to read.
    pub fn whole(now: OffsetDateTime, window: Duration) -> Self {
        let step = match window {
            short if short <= Duration::hours(6) => Duration::MINUTE,
            middle if middle <= Duration::days(8) => Duration::HOUR,
            _ => Duration::DAY,
        };
        Self::back(now, window, step)
    }

    /// The coarsest rows that tell its steps apart.
    pub fn grain(&self) -> Grain {
        match self.step.whole_seconds() {
            days if days % 86_400 == 0 => Grain::Day,
            hours if hours % 3_600 == 0 => Grain::Hour,
            _ => Grain::Minute,
        }
    }
}

/// A question that was asked often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub scope: ScopeId,
    pub digest: Digest,
    pub recalls: i64,
    pub hits: i64,
    /// In how many different hours it was asked.
    pub hours: i64,
    /// The request, where it is kept: see `open_query`.
    pub sealed: Option<Vec<u8>>,
}

/// What a tenant stores, and when that was counted.
#[derive(Debug, Clone, Copy, FromRow)]
pub struct Stored {
    pub agents: i64,
    pub memories: i64,
    pub bytes: i64,
    pub counted_at: OffsetDateTime,
}

/// What a tenant used on a day, in UTC.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DayUse {
    #[serde(serialize_with = "iso_date")]
    #[schema(value_type = String, format = Date)]
    pub day: Date,
    /// Stored at the end of the day; null where nobody counted then, and for today.
    pub memories: Option<i64>,
    pub bytes: Option<i64>,
    pub recalls: i64,
    /// Recalls that the cache answered.
    pub hits: i64,
    /// Sent to the provider of embeddings; a token is taken as four bytes.
    pub embedding_tokens: i64,
}

fn iso_date<S: serde::Serializer>(day: &Date, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_begin_at_multiples_of_their_length_and_are_read_from_rows_that_tell_them_apart() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::seconds(100_007);
        let span = Span::back(now, Duration::minutes(10), Duration::minutes(5));
        assert_eq!((span.from.unix_timestamp(), span.to), (99_300, now));
        let grain = |step| Span::back(now, Duration::DAY, step).grain();
        assert_eq!(grain(Duration::minutes(90)), Grain::Minute);
        assert_eq!(grain(Duration::hours(36)), Grain::Hour);
        assert_eq!(grain(Duration::days(2)), Grain::Day);
    }
}
