//! When a job is due: a cron expression in a time zone. Zones come with the build, so that all instances of a release
//! agree, whatever is installed beside them.

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, Zoned};
use time::OffsetDateTime;

use crate::error::{Code, Invalid, Result};

/// What the fields of an expression are called, with seconds, and what numbers they take.
const FIELDS: [(&str, &str); 6] = [
    ("second", "0 to 59"),
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of month", "1 to 31"),
    ("month", "1 to 12 or JAN to DEC"),
    ("day of week", "0 to 7 or SUN to SAT"),
];

/// When a job is due. A time of day that a change of the clocks leaves out is made up for at the next moment that
/// exists; one that comes twice counts once. What recurs within the hour or by the hour goes on as time passes.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

impl Schedule {
    /// `cron` has five fields, or six with seconds in front; `zone` is a name of the IANA database.
    pub fn parse(cron: &str, zone: &str) -> Result<Self, Vec<Invalid>> {
        match (parse_cron(cron), parse_zone(zone)) {
            (Ok(cron), Ok(zone)) => {
                let schedule = Self { cron, zone };
                schedule.check_comes().map(|()| schedule).map_err(|invalid| vec![invalid.under("cron")])
            }
            (cron, zone) => {
                let complaints = [cron.err().map(|one| one.under("cron")), zone.err().map(|one| one.under("timezone"))];
                Err(complaints.into_iter().flatten().collect())
            }
        }
    }

    /// The first due time after this moment; none if there is none for as long as calendars are kept.
    pub fn next_after(&self, moment: OffsetDateTime) -> Option<OffsetDateTime> {
        let moment = self.local(moment)?;
        let next = self.cron.find_next_occurrence(&moment, false).ok()?;
        OffsetDateTime::from_unix_timestamp(next.timestamp().as_second()).ok()
    }

    /// The last due time up to this moment, not before `since`.
    pub fn last_until(&self, moment: OffsetDateTime, since: OffsetDateTime) -> Option<OffsetDateTime> {
        let moment = self.local(moment)?;
        let last = self.cron.find_previous_occurrence(&moment, true).ok()?;
        OffsetDateTime::from_unix_timestamp(last.timestamp().as_second()).ok().filter(|last| *last >= since)
    }

    /// The next so many due times after this moment.
    pub fn upcoming(&self, moment: OffsetDateTime, count: usize) -> Vec<OffsetDateTime> {
        std::iter::successors(self.next_after(moment), |due| self.next_after(*due)).take(count).collect()
    }

    fn local(&self, moment: OffsetDateTime) -> Option<Zoned> {
        let timestamp = Timestamp::from_nanosecond(moment.unix_timestamp_nanos()).ok()?;
        Some(timestamp.to_zoned(self.zone.clone()))
    }

    /// The thirty-first of February is a valid expression, and never comes.
    fn check_comes(&self) -> Result<(), Invalid> {
        match self.next_after(OffsetDateTime::UNIX_EPOCH) {
            Some(_) => Ok(()),
            None => Err(Invalid::new(Code::InvalidValue, "names a day that never comes")),
        }
    }
}

fn parse_zone(name: &str) -> Result<TimeZone, Invalid> {
    TimeZoneDatabase::bundled().get(name).map_err(|_| {
        let detail = format!("no time zone of the IANA database is called {name:?}; one is Europe/Berlin");
        Invalid::new(Code::InvalidValue, detail)
    })
}

fn parse_cron(text: &str) -> Result<Cron, Invalid> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    if !(5..=6).contains(&fields.len()) {
        let detail = format!(
            "must have 5 fields (minute, hour, day of month, month, day of week), or 6 with seconds in front, not {}",
            fields.len()
        );
        return Err(Invalid::new(Code::InvalidValue, detail));
    }
    parse_fields(&fields).map_err(|reason| {
        let (name, value, reason) = culprit(&fields).unwrap_or(("expression", text, reason));
        Invalid::new(Code::InvalidValue, format!("the {name} {value:?} is not understood: {reason}"))
    })
}

fn parse_fields(fields: &[&str]) -> Result<Cron, String> {
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    parser.parse(&fields.join(" ")).map_err(|error| reason(&error))
}

/// What the parser says, as the end of a sentence.
fn reason(error: &CronError) -> String {
    let said = match error {
        CronError::InvalidPattern(said) | CronError::IllegalCharacters(said) | CronError::ComponentError(said) => {
            said.clone()
        }
        other => other.to_string(),
    };
    let mut said = said.trim_end_matches('.').chars();
    said.next().map(|first| first.to_lowercase().chain(said).collect()).unwrap_or_default()
}

/// The field that is to blame: it fails among others that cannot.
fn culprit<'a>(fields: &[&'a str]) -> Option<(&'static str, &'a str, String)> {
    let names = &FIELDS[FIELDS.len() - fields.len()..];
    fields.iter().zip(names).enumerate().find_map(|(index, (field, (name, range)))| {
        let mut alone = vec!["*"; fields.len()];
        alone[index] = field;
        parse_fields(&alone).err().map(|reason| (*name, *field, format!("{reason} ({range})")))
    })
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn schedule(cron: &str, zone: &str) -> Schedule {
        Schedule::parse(cron, zone).unwrap_or_else(|invalid| panic!("{cron} in {zone}: {invalid:?}"))
    }

    #[test]
    fn five_fields_are_minutes_and_six_are_seconds() {
        let noon = datetime!(2026-11-21 12:00:00.5 UTC);
        assert_eq!(schedule("*/15 * * * *", "UTC").next_after(noon), Some(datetime!(2026-11-21 12:15 UTC)));
        assert_eq!(schedule("*/15 * * * * *", "UTC").next_after(noon), Some(datetime!(2026-11-21 12:00:15 UTC)));
        let daily = schedule("30 7 * * MON-FRI", "Europe/Berlin");
        assert_eq!(
            daily.upcoming(noon, 2),
            [datetime!(2026-11-23 06:30 UTC), datetime!(2026-11-24 06:30 UTC)],
            "Saturday and Sunday are left out"
        );
    }

    #[test]
    fn a_time_of_day_that_the_clocks_leave_out_comes_at_the_next_moment_that_exists() {
        // On the last Sunday of March 2027, 02:00 to 03:00 does not exist in Berlin.
        let daily = schedule("30 2 * * *", "Europe/Berlin");
        let due = daily.upcoming(datetime!(2027-03-27 12:00 UTC), 2);
        assert_eq!(due, [datetime!(2027-03-28 01:00 UTC), datetime!(2027-03-29 00:30 UTC)]);
        // On Lord Howe Island half an hour is left out, from 02:00 on.
        let island = schedule("15 2 * * *", "Australia/Lord_Howe");
        let due = island.upcoming(datetime!(2026-10-03 12:00 UTC), 2);
        assert_eq!(due, [datetime!(2026-10-03 15:30 UTC), datetime!(2026-10-04 15:15 UTC)]);
    }

    #[test]
    fn a_time_of_day_that_comes_twice_counts_once() {
        let daily = schedule("30 2 * * *", "Europe/Berlin");
        let due = daily.upcoming(datetime!(2026-10-24 12:00 UTC), 2);
        assert_eq!(due, [datetime!(2026-10-25 00:30 UTC), datetime!(2026-10-26 01:30 UTC)]);
        let hours = schedule("0,30 2 * * *", "America/New_York");
        assert_eq!(hours.upcoming(datetime!(2026-11-01 04:00 UTC), 2).len(), 2);
    }

    #[test]
    fn what_recurs_by_the_hour_goes_on_while_the_clocks_change() {
        let hourly = schedule("0 * * * *", "Europe/Berlin");
        for start in [datetime!(2026-10-24 22:30 UTC), datetime!(2027-03-27 22:30 UTC)] {
            let due = hourly.upcoming(start, 6);
            assert!(due.windows(2).all(|pair| pair[1] - pair[0] == time::Duration::HOUR), "{due:?}");
        }
    }

    #[test]
    fn what_was_missed_is_the_last_due_time_and_no_other() {
        let schedule = schedule("0 * * * *", "UTC");
        let (now, long_ago) = (datetime!(2026-11-21 12:40 UTC), datetime!(2026-11-20 00:00 UTC));
        assert_eq!(schedule.last_until(now, long_ago), Some(datetime!(2026-11-21 12:00 UTC)));
        assert_eq!(
            schedule.last_until(datetime!(2026-11-21 12:00 UTC), long_ago),
            Some(datetime!(2026-11-21 12:00 UTC))
        );
        assert_eq!(schedule.last_until(now, datetime!(2026-11-21 12:01 UTC)), None);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_field() {
        let detail = |cron: &str, zone: &str| {
            let complaints = Schedule::parse(cron, zone).expect_err("not a schedule");
            complaints.iter().map(|one| format!("{} {}", one.pointer, one.detail)).collect::<Vec<_>>().join("\n")
        };
        assert!(detail("61 * * * *", "UTC").starts_with("/cron the minute \"61\" is not understood"));
        assert!(detail("0 0 25 * * *", "UTC").starts_with("/cron the hour \"25\""));
        assert!(detail("0 0 * * BLUE", "UTC").starts_with("/cron the day of week \"BLUE\""));
        assert!(detail("* * * *", "UTC").contains("not 4"));
        assert!(detail("* * * * * * 2027", "UTC").contains("not 7"));
        assert!(detail("@daily", "UTC").contains("not 1"));
        assert!(detail("0 0 31 2 *", "UTC").contains("never comes"));
        assert!(detail("0 0 * * *", "Europe/Berlyn").starts_with("/timezone no time zone"));
        assert_eq!(detail("x 0 * * *", "").lines().count(), 2);
    }
}
