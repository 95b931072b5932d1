//! Texts and metadata as callers may send them: bounded, storable, and never blank by accident.

use serde::Serialize;
use serde_json::{Map, Number, Value};
use utoipa::ToSchema;

use crate::error::{Code, Invalid, Result};
use crate::json::{FromJson, Json, depth, no_nul, number_out_of_range, wrong_type};

/// A text of 1 to `max_bytes` bytes that shows something.
pub fn bounded(raw: &str, max_bytes: usize) -> Result<String, Invalid> {
    no_nul(raw)?;
    if is_blank(raw) {
        return Err(Invalid::new(Code::FieldEmpty, "must not be empty"));
    }
    if raw.len() > max_bytes {
        return Err(Invalid::new(Code::FieldTooLong, format!("may have {max_bytes} bytes, not {}", raw.len())));
    }
    Ok(raw.to_owned())
}

/// White space and characters of no width, and nothing else.
pub fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2060}' | '\u{FEFF}'))
}

/// The name of a thing, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::Type, ToSchema)]
#[serde(transparent)]
#[sqlx(transparent)]
#[schema(value_type = String, min_length = 1, max_length = 200)]
pub struct Name(String);

impl Name {
    const MAX_BYTES: usize = 200;

    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        bounded(raw, Self::MAX_BYTES).map(Self)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A few sentences for people: 1 byte to 4 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::Type, ToSchema)]
#[serde(transparent)]
#[sqlx(transparent)]
#[schema(value_type = String, min_length = 1, max_length = 4096)]
pub struct Prose(String);

impl Prose {
    const MAX_BYTES: usize = 4 * 1024;

    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        bounded(raw, Self::MAX_BYTES).map(Self)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

crate::from_json_string!(Name, Prose);

/// A caller's own JSON object: at most 16 KiB, 6 levels, 256 keys of at most 128 characters. Numbers
/// are doubles or signed 64-bit integers, so that they come back as they were sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct Metadata(Map<String, Value>);

impl Metadata {
    const MAX_BYTES: usize = 16 * 1024;
    const MAX_DEPTH: usize = 6;
    const MAX_KEYS: usize = 256;
    pub const MAX_KEY_CHARS: usize = 128;

    /// Its size as JSON.
    pub fn bytes(&self) -> usize {
        serde_json::to_vec(&self.0).map_or(usize::MAX, |bytes| bytes.len())
    }

    /// Holds it against a limit that is lower than its own.
    pub fn check_bytes(&self, most: usize) -> Result<(), Invalid> {
        match self.bytes() {
            bytes if bytes > most => {
                Err(Invalid::new(Code::MetadataTooLarge, format!("may have {most} bytes as JSON, not {bytes}")))
            }
            _ => Ok(()),
        }
    }

    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// RFC 7396: null removes a key, an object is merged, anything else replaces.
    pub fn merged(&self, patch: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let Json::Object(_) = patch else {
            return Err(wrong_type(patch, "an object").into());
        };
        check_shape(patch)?;
        let mut merged = Value::Object(self.0.clone());
        merge(&mut merged, &value_of(patch)?);
        match merged {
            Value::Object(map) => Ok(Self(map).checked()?),
            _ => Ok(Self::default()),
        }
    }

    fn checked(self) -> Result<Self, Invalid> {
        self.check_bytes(Self::MAX_BYTES)?;
        if keys(&self.0) > Self::MAX_KEYS {
            return Err(Invalid::new(Code::TooManyItems, format!("may have {} keys in all", Self::MAX_KEYS)));
        }
        Ok(self)
    }
}

impl FromJson for Metadata {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let Json::Object(_) = json else {
            return Err(wrong_type(json, "an object").into());
        };
        check_shape(json)?;
        match value_of(json)? {
            Value::Object(map) => Ok(Self(map).checked()?),
            _ => Ok(Self::default()),
        }
    }
}

impl TryFrom<Value> for Metadata {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        match value {
            Value::Object(map) => Ok(Self(map.into_iter().map(|(key, value)| (key, as_sent(value))).collect())),
            _ => Err("metadata is stored as an object"),
        }
    }
}

fn check_shape(json: &Json<'_>) -> Result<(), Invalid> {
    if depth(json) > Metadata::MAX_DEPTH {
        return Err(Invalid::new(Code::JsonTooDeep, format!("may be nested {} levels deep", Metadata::MAX_DEPTH)));
    }
    Ok(())
}

fn keys(map: &Map<String, Value>) -> usize {
    fn below(value: &Value) -> usize {
        match value {
            Value::Object(map) => keys(map),
            Value::Array(items) => items.iter().map(below).sum(),
            _ => 0,
        }
    }
    map.len() + map.values().map(below).sum::<usize>()
}

/// Our JSON as serde's, with every key, text and number checked.
pub fn value_of(json: &Json<'_>) -> Result<Value, Vec<Invalid>> {
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Int(number) => Value::Number((*number).into()),
        Json::BigInt(_) => return Err(number_out_of_range().into()),
        Json::Float(number) => Value::Number(canonical(*number)?),
        Json::Str(text) => {
            no_nul(text)?;
            Value::String(text.to_string())
        }
        Json::Array(items) => {
            let items = items.iter().enumerate().map(|(index, item)| under(index, value_of(item)));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Json::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| {
                under(key, metadata_key(key).map_err(Vec::from).and_then(|()| value_of(value)))
                    .map(|value| (key.to_string(), value))
            });
            Value::Object(entries.collect::<Result<_, _>>()?)
        }
    })
}

/// Postgres writes 1e2 as 100; doing so here makes what is answered equal to what is stored.
fn canonical(number: f64) -> Result<Number, Invalid> {
    // The digits are the ones that Postgres is told, which for large numbers are not all that the double has.
    if let Ok(whole) = number.to_string().parse::<i64>() {
        return Ok(whole.into());
    }
    Number::from_f64(number).ok_or_else(number_out_of_range)
}

/// A whole number beyond the signed 64 bits came as a double and goes as one, or it could not be sent back.
fn as_sent(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_u64() && !number.is_i64() => {
            number.as_f64().map_or(Value::Null, Value::from)
        }
        Value::Array(items) => items.into_iter().map(as_sent).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, as_sent(value))).collect(),
        other => other,
    }
}

fn metadata_key(key: &str) -> Result<(), Invalid> {
    no_nul(key)?;
    if key.chars().count() > Metadata::MAX_KEY_CHARS {
        return Err(Invalid::new(Code::FieldTooLong, format!("a key may have {} characters", Metadata::MAX_KEY_CHARS)));
    }
    Ok(())
}

fn under<T>(segment: impl std::fmt::Display, result: Result<T, Vec<Invalid>>) -> Result<T, Vec<Invalid>> {
    result.map_err(|invalids| invalids.into_iter().map(|invalid| invalid.under(&segment)).collect())
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        for (key, value) in patch {
            match value {
                Value::Null => drop(target.remove(key)),
                value => merge(target.entry(key.clone()).or_insert(Value::Null), value),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(text: &str) -> Result<Metadata, Code> {
        let json = Json::parse(text.as_bytes(), false).expect("valid JSON");
        Metadata::from_json(&json).map_err(|invalids| invalids[0].code)
    }

    #[test]
    fn numbers_that_would_come_back_different_are_refused() {
        for number in ["1e400", "-1e400", "1e131000", "123456789012345678901234567890", "9223372036854775808"] {
            assert_eq!(metadata(&format!(r#"{{"n":{number}}}"#)), Err(Code::NumberOutOfRange), "{number}");
        }
        for number in ["-0", "0.1", "9223372036854775807", "1e308"] {
            assert!(metadata(&format!(r#"{{"n":{number}}}"#)).is_ok(), "{number}");
        }
    }

    #[test]
    fn size_depth_and_keys_are_bounded() {
        assert_eq!(metadata(&format!(r#"{{"k":"{}"}}"#, "x".repeat(16 * 1024 - 8))).map(drop), Ok(()));
        assert_eq!(metadata(&format!(r#"{{"k":"{}"}}"#, "x".repeat(16 * 1024 - 7))), Err(Code::MetadataTooLarge));
        assert_eq!(metadata(r#"{"a":{"b":{"c":{"d":{"e":{}}}}}}"#).map(drop), Ok(()));
        assert_eq!(metadata(r#"{"a":{"b":{"c":{"d":{"e":{"f":{}}}}}}}"#), Err(Code::JsonTooDeep));
        assert_eq!(metadata(&format!(r#"{{"{}":1}}"#, "k".repeat(129))), Err(Code::FieldTooLong));
        let many: Vec<String> = (0..1000).map(|n| format!(r#""{n}":1"#)).collect();
        assert_eq!(metadata(&format!("{{{}}}", many.join(","))), Err(Code::TooManyItems));
    }

    #[test]
    fn a_merge_patch_removes_merges_and_replaces() {
        let before = metadata(r#"{"a":1,"b":{"c":2,"d":3},"e":[1]}"#).expect("valid");
        let patch = Json::parse(br#"{"a":null,"b":{"c":null,"x":4},"e":[2]}"#, false).expect("valid");
        let after = before.merged(&patch).expect("merges");
        assert_eq!(after, metadata(r#"{"b":{"d":3,"x":4},"e":[2]}"#).expect("valid"));
    }

    #[test]
    fn characters_without_width_are_blank() {
        assert!(is_blank(" \n\u{200B}\u{FEFF}"));
        assert!(!is_blank("\u{200D}a"));
    }
}
