//! What a schedule asks for between two looks at it.

use time::{Duration, OffsetDateTime};

use crate::jobs::model::Schedule;

/// A look can come this much too late while somebody looks all the time: one instance may be stopped in the middle of
/// its own, and Postgres lets go of the job after five seconds.
const LATE: Duration = Duration::seconds(15);

/// The due times that have come, and the next that is to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub now: Vec<OffsetDateTime>,
    pub next: Option<OffsetDateTime>,
}

impl Due {
    /// `since` is the first due time that was not seen to. Of what was missed while nobody looked, only the last is
    /// made up for; what is merely late is not lost.
    pub fn between(schedule: &Schedule, since: OffsetDateTime, now: OffsetDateTime) -> Self {
        let start = since.max(now - LATE) - Duration::MICROSECOND;
        let mut due: Vec<OffsetDateTime> =
            std::iter::successors(schedule.next_after(start), |due| schedule.next_after(*due))
                .take_while(|due| *due <= now)
                .collect();
        if due.is_empty() && since <= now {
            // What was announced is kept, even where the rules of the zone have changed since.
            due.push(schedule.last_until(now, since).unwrap_or(since));
        }
        Self { now: due, next: schedule.next_after(now) }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn due(cron: &str, since: OffsetDateTime, now: OffsetDateTime) -> Due {
        Due::between(&Schedule::parse(cron, "UTC").expect("a schedule"), since, now)
    }

    #[test]
    fn what_is_due_runs_once_and_is_next_due_later() {
        let (noon, next) = (datetime!(2026-11-21 12:00 UTC), datetime!(2026-11-21 12:01 UTC));
        for now in [noon, datetime!(2026-11-21 12:00:00.7 UTC)] {
            assert_eq!(due("* * * * *", noon, now), Due { now: vec![noon], next: Some(next) });
        }
        assert_eq!(due("* * * * *", noon, datetime!(2026-11-21 11:59:59.9 UTC)), Due { now: vec![], next: Some(noon) });
    }

    #[test]
    fn a_look_that_is_late_loses_nothing() {
        let since = datetime!(2026-11-21 12:00 UTC);
        let seconds = due("* * * * * *", since, datetime!(2026-11-21 12:00:06.2 UTC));
        assert_eq!(seconds.now.len(), 7, "{seconds:?}");
        assert_eq!(seconds.next, Some(datetime!(2026-11-21 12:00:07 UTC)));
    }

    #[test]
    fn what_was_missed_for_long_is_made_up_for_once() {
        let since = datetime!(2026-11-19 12:00 UTC);
        let minutes = due("* * * * *", since, datetime!(2026-11-21 12:00:40 UTC));
        assert_eq!(minutes.now, [datetime!(2026-11-21 12:00 UTC)]);
        let days = due("0 12 * * *", since, datetime!(2026-11-21 18:00 UTC));
        assert_eq!(
            days,
            Due { now: vec![datetime!(2026-11-21 12:00 UTC)], next: Some(datetime!(2026-11-22 12:00 UTC)) }
        );
        let seconds = due("* * * * * *", since, datetime!(2026-11-21 12:00 UTC));
        assert!(seconds.now.len() <= 16, "no storm: {seconds:?}");
    }
}
