//! Figures of a circle, and how far back they go.

use std::collections::BTreeMap;

use serde::Serialize;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

use crate::circles::model::TaskCounts;
use crate::error::{Code, Invalid, Result};
use crate::http::length_of_time;
use crate::ids::ExternalId;

/// How far back figures go: 1 minute to 90 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window(Duration);

impl Window {
    const LEAST: Duration = Duration::minutes(1);
    const MOST: Duration = Duration::days(90);

    /// As in `90m`, `24h` or `7d`.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        match length_of_time(raw)? {
            length if (Self::LEAST..=Self::MOST).contains(&length) => Ok(Self(length)),
            _ => Err(Invalid::new(Code::OutOfRange, "must be 1 minute to 90 days")),
        }
    }

    pub fn before(self, moment: OffsetDateTime) -> OffsetDateTime {
        moment - self.0
    }
}

impl Default for Window {
    fn default() -> Self {
        Self(Duration::DAY)
    }
}

/// What happened in a circle between two moments.
#[derive(Debug, Serialize, ToSchema)]
pub struct CircleMetrics {
    pub circle_id: ExternalId,
    #[serde(with = "time::serde::rfc3339")]
    pub from: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub to: OffsetDateTime,
    pub memories: SharedMetrics,
    /// Recalls that searched the circle, cached answers included, by whole minutes; counted within seconds.
    #[schema(minimum = 0)]
    pub recalls: i64,
    pub tasks: TaskMetrics,
    pub conflicts: Conflicts,
}

/// Memories that were shared in that time, whether they still are or not.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct SharedMetrics {
    #[schema(minimum = 0)]
    pub shared: i64,
    /// In the order of their ids; who shared nothing is left out.
    pub by_member: Vec<MemberMetrics>,
    /// Kinds of which nothing was shared are left out.
    pub by_kind: BTreeMap<String, i64>,
}

/// What one agent shared in that time, even if it is no member now.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct MemberMetrics {
    pub agent_id: ExternalId,
    #[schema(minimum = 0)]
    pub shared: i64,
    pub by_kind: BTreeMap<String, i64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TaskMetrics {
    /// As it is now.
    pub by_state: TaskCounts,
    /// Tasks approved in that time.
    #[schema(minimum = 0)]
    pub done: i64,
    /// Of those, from creation to approval; null where there are none.
    pub time_to_done_ms: Option<TimeToDone>,
}

/// In milliseconds.
#[derive(Debug, Serialize, ToSchema)]
pub struct TimeToDone {
    pub p50: i64,
    pub p95: i64,
    pub mean: i64,
}

/// Attempts that came too late.
#[derive(Debug, Serialize, ToSchema)]
pub struct Conflicts {
    /// Claims of tasks that somebody else had claimed.
    #[schema(minimum = 0)]
    pub claims_lost: i64,
}

/// How many memories of a kind an agent shared.
#[derive(Debug, sqlx::FromRow)]
pub struct SharedByKind {
    pub agent_id: ExternalId,
    pub kind: String,
    pub shared: i64,
}

impl SharedMetrics {
    /// Adds up rows in the order of agents.
    pub fn of(rows: Vec<SharedByKind>) -> Self {
        let mut sums = Self::default();
        for SharedByKind { agent_id, kind, shared } in rows {
            sums.shared += shared;
            *sums.by_kind.entry(kind.clone()).or_default() += shared;
            if sums.by_member.last().is_none_or(|member| member.agent_id != agent_id) {
                sums.by_member.push(MemberMetrics { agent_id, shared: 0, by_kind: BTreeMap::new() });
            }
            if let Some(member) = sums.by_member.last_mut() {
                member.shared += shared;
                member.by_kind.insert(kind, shared);
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_minutes_hours_or_days_from_one_minute_to_ninety_days() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        let back = |raw| Window::parse(raw).map(|window| now - window.before(now));
        assert_eq!(back("1m"), Ok(Duration::MINUTE));
        assert_eq!(back("36h"), Ok(Duration::hours(36)));
        assert_eq!(back("090d"), Ok(Duration::days(90)));
        assert_eq!(back("129600m"), Ok(Duration::days(90)));
        for raw in ["0m", "91d", "129601m", "99999999999999999999d", "9223372036854775807d"] {
            assert_eq!(back(raw).map_err(|invalid| invalid.code), Err(Code::OutOfRange), "{raw}");
        }
        for raw in ["", "m", "5", "5s", "+5m", "-5m", "5 m", "5mm", "1.5h", "½h", "5é"] {
            assert_eq!(back(raw).map_err(|invalid| invalid.code), Err(Code::InvalidValue), "{raw}");
        }
    }

    #[test]
    fn what_was_shared_adds_up_by_member_and_by_kind() {
        let id = |name| ExternalId::parse(name).expect("an id");
        let row = |name, kind: &str, shared| SharedByKind { agent_id: id(name), kind: kind.into(), shared };
        let sums = SharedMetrics::of(vec![row("ada", "event", 2), row("ada", "fact", 3), row("bob", "fact", 4)]);
        let kinds = |kinds: &[(&str, i64)]| kinds.iter().map(|(kind, n)| ((*kind).to_owned(), *n)).collect();
        let ada = MemberMetrics { agent_id: id("ada"), shared: 5, by_kind: kinds(&[("event", 2), ("fact", 3)]) };
        let bob = MemberMetrics { agent_id: id("bob"), shared: 4, by_kind: kinds(&[("fact", 4)]) };
        let expected =
            SharedMetrics { shared: 9, by_member: vec![ada, bob], by_kind: kinds(&[("event", 2), ("fact", 7)]) };
        assert_eq!(sums, expected);
    }
}
