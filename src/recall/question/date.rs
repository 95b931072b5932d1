//! Times that a question names: a month, a day of it, a year. Relative ones (yesterday, last week) are not understood:
//! an answer must not depend on when it is computed.

use time::{Date, Duration, Month, OffsetDateTime, UtcOffset};
use unicode_segmentation::UnicodeSegmentation;

/// The nearness of a memory halves with so many days between it and the time named: people tell of a day later.
const HALF_LIFE_DAYS: f64 = 10.0;

/// A day, a month or a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedDate {
    year: Option<i32>,
    month: Option<Month>,
    /// Only with a month.
    day: Option<u8>,
}

impl NamedDate {
    /// The first that is named. May and March need a capital letter; a May that begins the question is a verb.
    pub fn read(query: &str) -> Option<Self> {
        let words: Vec<&str> = query.unicode_words().collect();
        let year = words.iter().find_map(|word| year(word));
        let place = words.iter().enumerate().position(|(index, word)| is_month(index, word));
        let Some(place) = place else {
            return year.map(|year| Self { year: Some(year), month: None, day: None });
        };
        let before = |back: usize| words.get(place.checked_sub(back)?).copied();
        let of = before(1).filter(|word| word.eq_ignore_ascii_case("of")).and(before(2));
        let after = words.get(place + 1).copied();
        let day = [before(1), of, after].into_iter().flatten().find_map(day);
        Some(Self { year, month: month(words[place]), day })
    }

    /// 1 for what happened then, less the further away. Without a year, the nearest year is meant.
    pub fn nearness(&self, at: OffsetDateTime) -> f64 {
        let date = at.to_offset(UtcOffset::UTC).date();
        let years = self.year.map_or(date.year() - 1..=date.year() + 1, |year| year..=year);
        let days = years.filter_map(|year| self.days_from(year, date)).min();
        days.map_or(0.0, |days| 0.5_f64.powf(days as f64 / HALF_LIFE_DAYS))
    }

    /// Days between a date and the time named, taken to be of this year.
    fn days_from(&self, year: i32, date: Date) -> Option<i64> {
        let (first, last) = match (self.month, self.day) {
            (Some(month), Some(day)) => {
                let day = Date::from_calendar_date(year, month, day).ok()?;
                (day, day)
            }
            (Some(month), None) => {
                let length = month.length(year);
                (Date::from_calendar_date(year, month, 1).ok()?, Date::from_calendar_date(year, month, length).ok()?)
            }
            _ => (Date::from_ordinal_date(year, 1).ok()?, Date::from_calendar_date(year, Month::December, 31).ok()?),
        };
        Some((first - date).max(date - last).max(Duration::ZERO).whole_days())
    }
}

/// 1900 to 2099.
fn year(word: &str) -> Option<i32> {
    word.parse().ok().filter(|year| word.len() == 4 && (1900..2100).contains(year))
}

/// 8, 08 or 8th.
fn day(word: &str) -> Option<u8> {
    let digits = ["st", "nd", "rd", "th"].iter().find_map(|ending| word.strip_suffix(ending)).unwrap_or(word);
    digits.parse().ok().filter(|day| digits.len() <= 2 && (1..=31).contains(day))
}

fn is_month(index: usize, word: &str) -> bool {
    let capital = word.starts_with(char::is_uppercase);
    match month(word) {
        Some(Month::May) => capital && index > 0,
        Some(Month::March) => capital,
        other => other.is_some(),
    }
}

/// By its whole name.
fn month(word: &str) -> Option<Month> {
    (1..=12)
        .filter_map(|number: u8| Month::try_from(number).ok())
        .find(|month| month.to_string().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn named(query: &str) -> Option<(Option<i32>, Option<u8>, Option<u8>)> {
        NamedDate::read(query).map(|date| (date.year, date.month.map(u8::from), date.day))
    }

    #[test]
    fn months_days_and_years_are_understood() {
        let cases = [
            ("What broke on 8 May 2023?", Some((Some(2023), Some(5), Some(8)))),
            ("What broke on the 8th of May?", Some((None, Some(5), Some(8)))),
            ("What broke on March 3rd, 2024?", Some((Some(2024), Some(3), Some(3)))),
            ("Who came in august", Some((None, Some(8), None))),
            ("What was bought in 2022?", Some((Some(2022), None, None))),
            ("Which 12 cups were bought?", None),
            ("May I come?", None),
            ("Where may we march?", None),
            ("What happened last week?", None),
        ];
        for (query, expected) in cases {
            assert_eq!(named(query), expected, "{query}");
        }
    }

    #[test]
    fn the_nearer_to_the_time_named_the_better() {
        let may = NamedDate::read("in May").expect("a month");
        let at = [
            datetime!(2023-05-31 23:00 UTC),
            datetime!(2023-06-10 00:00 UTC),
            datetime!(2023-06-20 00:00 UTC),
            datetime!(2023-11-01 00:00 UTC),
        ];
        let near: Vec<f64> = at.iter().map(|at| may.nearness(*at)).collect();
        assert_eq!((near[0], near[1], near[2]), (1.0, 0.5, 0.25));
        assert!(near[3] < 0.001);
        let year = NamedDate::read("in 2022").expect("a year");
        assert_eq!(year.nearness(datetime!(2022-07-01 00:00 UTC)), 1.0);
        assert_eq!(year.nearness(datetime!(2023-01-10 00:00 UTC)), 0.5);
        let never = NamedDate::read("on 31 June").expect("a date");
        assert_eq!(never.nearness(datetime!(2022-07-01 00:00 UTC)), 0.0);
    }
}
