//! Strict JSON: no duplicate keys, bounded depth, numbers that survive a round trip. Objects are
//! read field by field and every complaint is kept, so that a caller sees all of them at once.

use std::collections::HashSet;

use jiter::{JsonErrorType, JsonValue};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::{Code, Error, Invalid, Result};

pub type Json<'a> = JsonValue<'a>;

/// Nested containers allowed in a body, unless its type says otherwise.
pub const MAX_DEPTH: usize = 8;

/// Parses a whole body: syntax, unicode, duplicate keys and depth are settled here.
pub fn parse(bytes: &[u8], max_depth: usize) -> Result<Json<'_>> {
    // jiter reports a bad byte and a bad escape alike, so bytes are checked first.
    if std::str::from_utf8(bytes).is_err() {
        return Err(Invalid::new(Code::InvalidJson, "the body is not valid UTF-8").into());
    }
    let json = Json::parse(bytes, false).map_err(|error| match error.error_type {
        JsonErrorType::RecursionLimitExceeded => too_deep(max_depth),
        _ => Invalid::new(Code::InvalidJson, format!("the body is not valid JSON: {}", error.description(bytes))),
    })?;
    check_structure(&json, max_depth, max_depth)?;
    Ok(json)
}

fn check_structure(json: &Json<'_>, left: usize, max_depth: usize) -> Result<(), Invalid> {
    let below = left.checked_sub(1);
    match json {
        Json::Array(items) => {
            let below = below.ok_or_else(|| too_deep(max_depth))?;
            items.iter().try_for_each(|item| check_structure(item, below, max_depth))
        }
        Json::Object(entries) => {
            let below = below.ok_or_else(|| too_deep(max_depth))?;
            let mut seen = HashSet::with_capacity(entries.len());
            entries.iter().try_for_each(|(key, value)| {
                if !seen.insert(key.as_ref()) {
                    return Err(Invalid::new(
                        Code::InvalidJson,
                        format!("the key {key:?} appears twice in one object"),
                    ));
                }
                check_structure(value, below, max_depth)
            })
        }
        _ => Ok(()),
    }
}

fn too_deep(max_depth: usize) -> Invalid {
    Invalid::new(Code::JsonTooDeep, format!("at most {max_depth} levels of nesting are allowed"))
}

/// How many containers are nested in a value; a scalar has depth 0.
pub fn depth(json: &Json<'_>) -> usize {
    match json {
        Json::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Json::Object(entries) => 1 + entries.iter().map(|(_, value)| depth(value)).max().unwrap_or(0),
        _ => 0,
    }
}

/// What can be read out of JSON. An error may point below the value it was given.
pub trait FromJson: Sized {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>>;
}

/// Implements `FromJson` for a type that is parsed out of a string.
#[macro_export]
macro_rules! from_json_string {
    ($($name:ty),* $(,)?) => {$(
        impl $crate::json::FromJson for $name {
            fn from_json(json: &$crate::json::Json<'_>) -> Result<Self, Vec<$crate::error::Invalid>> {
                Self::parse($crate::json::text(json)?).map_err(|invalid| vec![invalid])
            }
        }
    )*};
}

from_json_string!(crate::ids::ExternalId);

/// A string without U+0000, which Postgres cannot store.
pub fn text<'a>(json: &'a Json<'_>) -> Result<&'a str, Invalid> {
    let Json::Str(text) = json else {
        return Err(wrong_type(json, "a string"));
    };
    no_nul(text)?;
    Ok(text)
}

pub fn no_nul(text: &str) -> Result<(), Invalid> {
    if text.contains('\0') {
        return Err(Invalid::new(Code::InvalidUnicode, "must not contain the character U+0000"));
    }
    Ok(())
}

pub fn wrong_type(json: &Json<'_>, wanted: &str) -> Invalid {
    let found = match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Int(_) | Json::BigInt(_) | Json::Float(_) => "a number",
        Json::Str(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    };
    Invalid::new(Code::InvalidType, format!("must be {wanted}, not {found}"))
}

impl FromJson for String {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        Ok(text(json)?.to_owned())
    }
}

impl From<Invalid> for Vec<Invalid> {
    fn from(invalid: Invalid) -> Self {
        vec![invalid]
    }
}

impl FromJson for bool {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        match json {
            Json::Bool(value) => Ok(*value),
            other => Err(wrong_type(other, "true or false").into()),
        }
    }
}

impl FromJson for f64 {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        match json {
            Json::Int(value) => Ok(*value as f64),
            Json::Float(value) if value.is_finite() => Ok(*value),
            Json::Float(_) | Json::BigInt(_) => Err(number_out_of_range().into()),
            other => Err(wrong_type(other, "a number").into()),
        }
    }
}

impl FromJson for OffsetDateTime {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        Ok(timestamp(text(json)?)?)
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let Json::Array(items) = json else {
            return Err(wrong_type(json, "an array").into());
        };
        let mut invalids = Vec::new();
        let mut parsed = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match T::from_json(item) {
                Ok(value) => parsed.push(value),
                Err(found) => invalids.extend(found.into_iter().map(|invalid| invalid.under(index))),
            }
        }
        if invalids.is_empty() { Ok(parsed) } else { Err(invalids) }
    }
}

/// A whole number within bounds, however it is spelled: 10, 10.0 and 1e1 are the same in JSON.
pub fn whole_number(json: &Json<'_>, least: i64, most: i64) -> Result<i64, Invalid> {
    let out_of_range = || Invalid::new(Code::OutOfRange, format!("must be a whole number from {least} to {most}"));
    match json {
        Json::Int(number) if (least..=most).contains(number) => Ok(*number),
        // Beyond 2^53 a double no longer tells one whole number from the next.
        Json::Float(number) if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 => {
            let number = *number as i64;
            if (least..=most).contains(&number) { Ok(number) } else { Err(out_of_range()) }
        }
        Json::Int(_) | Json::BigInt(_) | Json::Float(_) | Json::Null => Err(out_of_range()),
        other => Err(wrong_type(other, "a whole number")),
    }
}

pub fn number_out_of_range() -> Invalid {
    Invalid::new(Code::NumberOutOfRange, "must be a finite double or a signed 64-bit integer")
}

/// RFC 3339 with a zone, in the years that Postgres and every client agree on.
pub fn timestamp(raw: &str) -> Result<OffsetDateTime, Invalid> {
    let invalid =
        || Invalid::new(Code::InvalidTimestamp, "must be an RFC 3339 time with a zone, as 2026-01-31T12:00:00Z");
    // `time` reads a leap second as the second before it; what cannot be stored as sent is refused.
    if raw.get(17..19) == Some("60") {
        return Err(invalid());
    }
    let parsed = OffsetDateTime::parse(raw, &Rfc3339).map_err(|_| invalid())?;
    let utc = parsed.checked_to_offset(time::UtcOffset::UTC).ok_or_else(invalid)?;
    if (1..=9999).contains(&utc.year()) { Ok(truncate_to_micros(utc)) } else { Err(invalid()) }
}

/// Postgres keeps microseconds; cutting here makes what is answered equal to what is stored.
fn truncate_to_micros(time: OffsetDateTime) -> OffsetDateTime {
    let micros = time.microsecond();
    time.replace_microsecond(micros).unwrap_or(time)
}

/// An object being read. Every field is taken by name; what is left at the end is unknown.
pub struct Fields<'a, 'j> {
    entries: Vec<(&'a str, &'a Json<'j>)>,
    invalids: Vec<Invalid>,
}

impl<'a, 'j> Fields<'a, 'j> {
    pub fn of(json: &'a Json<'j>) -> Result<Self, Vec<Invalid>> {
        let Json::Object(entries) = json else {
            return Err(wrong_type(json, "an object").into());
        };
        let entries = entries.iter().map(|(key, value)| (key.as_ref(), value)).collect();
        Ok(Self { entries, invalids: Vec::new() })
    }

    /// The raw value of a field, which counts as read.
    pub fn take(&mut self, name: &str) -> Option<&'a Json<'j>> {
        let index = self.entries.iter().position(|(key, _)| *key == name)?;
        Some(self.entries.swap_remove(index).1)
    }

    pub fn complain(&mut self, name: &str, invalids: impl Into<Vec<Invalid>>) {
        self.invalids.extend(invalids.into().into_iter().map(|invalid| invalid.under(name)));
    }

    /// Complaints that say themselves which fields they are about.
    pub fn complain_of(&mut self, invalids: Vec<Invalid>) {
        self.invalids.extend(invalids);
    }

    pub fn required<T: FromJson>(&mut self, name: &str) -> Option<T> {
        match self.take(name) {
            Some(json) => self.parse(name, json),
            None => {
                self.complain(name, Invalid::new(Code::FieldMissing, "is required"));
                None
            }
        }
    }

    pub fn optional<T: FromJson>(&mut self, name: &str) -> Option<T> {
        let json = self.take(name)?;
        self.parse(name, json)
    }

    /// A field that may be null, which means the same as leaving it out.
    pub fn nullable<T: FromJson>(&mut self, name: &str) -> Option<T> {
        self.patch(name).flatten()
    }

    /// A field of a merge patch: absent, null (clear), or a value.
    pub fn patch<T: FromJson>(&mut self, name: &str) -> Option<Option<T>> {
        match self.take(name)? {
            Json::Null => Some(None),
            json => self.parse(name, json).map(Some),
        }
    }

    fn parse<T: FromJson>(&mut self, name: &str, json: &Json<'_>) -> Option<T> {
        T::from_json(json).map_err(|invalids| self.complain(name, invalids)).ok()
    }

    /// Ends the reading: unknown fields and everything complained about become one error.
    /// `build` returns `None` only when a required field was already complained about.
    pub fn finish<T>(mut self, build: impl FnOnce() -> Option<T>) -> Result<T, Vec<Invalid>> {
        for (name, _) in std::mem::take(&mut self.entries) {
            self.complain(name, Invalid::new(Code::UnknownField, "is not a field of this request"));
        }
        match build() {
            Some(value) if self.invalids.is_empty() => Ok(value),
            _ => Err(self.invalids),
        }
    }
}

impl From<Vec<Invalid>> for Error {
    fn from(invalids: Vec<Invalid>) -> Self {
        Self::Invalid(invalids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(body: &str) -> Option<Code> {
        parse(body.as_bytes(), MAX_DEPTH).err().map(|error| error.code())
    }

    #[test]
    fn a_duplicate_key_is_refused_at_any_level() {
        assert_eq!(code(r#"{"a":1,"a":1}"#), Some(Code::InvalidJson));
        assert_eq!(code(r#"{"a":[{"b":1,"b":2}]}"#), Some(Code::InvalidJson));
        assert_eq!(code(r#"{"a":{"b":1},"b":2}"#), None);
    }

    #[test]
    fn nesting_is_bounded_at_every_size() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert_eq!(code(&nested(8)), None);
        for levels in [9, 200, 100_000] {
            assert_eq!(code(&nested(levels)), Some(Code::JsonTooDeep), "{levels} levels");
        }
    }

    #[test]
    fn lone_surrogates_and_trailing_text_are_not_json() {
        assert_eq!(code(r#""\ud800""#), Some(Code::InvalidJson));
        assert_eq!(code(r#""\udc00""#), Some(Code::InvalidJson));
        assert_eq!(code("{} x"), Some(Code::InvalidJson));
        assert_eq!(code(""), Some(Code::InvalidJson));
    }

    #[test]
    fn times_without_a_zone_or_beyond_the_calendar_are_refused() {
        for raw in
            ["2026-01-01T00:00:00", "0000-01-01T00:00:00Z", "9999999-01-01T00:00:00Z", "2026-06-30T23:59:60Z", "today"]
        {
            assert_eq!(timestamp(raw).map_err(|invalid| invalid.code), Err(Code::InvalidTimestamp), "{raw}");
        }
        let parsed = timestamp("2026-01-01T01:00:00.123456789+01:00").expect("valid");
        assert_eq!(parsed.to_string(), "2026-01-01 0:00:00.123456 +00:00:00");
    }
}
