//! One line of a JSONL file as a memory for the API: its names translated, what is unknown left out.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use unicode_normalization::UnicodeNormalization;

use crate::ids::ExternalId;

/// Handed to the API as they are; it knows what they may hold.
const AS_THEY_ARE: [&str; 9] =
    ["kind", "key", "tags", "importance", "metadata", "speaker", "source", "occurred_at", "expires_at"];
const TRANSLATED: [&str; 8] = ["content", "text", "id", "timestamp", "session", "seq", "image_caption", "circles"];

/// Whose memories the lines are.
#[derive(Debug, Clone)]
pub enum Agents {
    One(ExternalId),
    /// The line says it in this field; the agent's id begins with the prefix.
    Field {
        name: String,
        prefix: &'static str,
    },
}

/// Where records read what a line does not say.
pub struct Form {
    pub agents: Agents,
    pub timezone: TimeZone,
}

/// A memory to be sent.
#[derive(Debug)]
pub struct Record {
    pub agent: ExternalId,
    /// In normal form C, as the server compares keys.
    pub key: Option<String>,
    /// The memory as JSON.
    pub json: String,
    /// Fields that no memory has.
    pub ignored: Vec<String>,
    /// The line names circles. They are not shared with: here they may be others, or none, or not the agent's.
    pub was_shared: bool,
}

impl fmt::Display for Agents {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(agent) => write!(out, "agent {agent}"),
            Self::Field { name, prefix } => write!(out, "agents {prefix}<{name}>"),
        }
    }
}

impl Form {
    /// A reason for people, if the line is no memory.
    pub fn read(&self, line: &[u8]) -> Result<Record, String> {
        let mut fields: Map<String, Value> =
            serde_json::from_slice(line).map_err(|error| format!("is no JSON object: {error}"))?;
        let agent = self.agent(&fields)?;
        let mut memory = Map::new();
        memory.insert("content".into(), content(&fields)?);
        if !fields.contains_key("key")
            && let Some(id) = label(fields.get("id"))
        {
            memory.insert("key".into(), id.into());
        }
        if let Some(source) = source(&fields)? {
            memory.insert("source".into(), source);
        }
        if let Some(at) = self.occurred_at(&fields)? {
            memory.insert("occurred_at".into(), at.into());
        }
        for name in AS_THEY_ARE {
            match fields.remove(name) {
                None | Some(Value::Null) => {}
                Some(value) => drop(memory.insert(name.into(), value)),
            }
        }
        let key = memory.get("key").and_then(Value::as_str).map(|key| key.nfc().collect());
        let ignored = fields.keys().filter(|name| !self.knows(name)).cloned().collect();
        let was_shared = fields.get("circles").and_then(Value::as_array).is_some_and(|circles| !circles.is_empty());
        Ok(Record { agent, key, json: Value::Object(memory).to_string(), ignored, was_shared })
    }

    fn knows(&self, name: &str) -> bool {
        TRANSLATED.contains(&name) || matches!(&self.agents, Agents::Field { name: field, .. } if field == name)
    }

    fn agent(&self, fields: &Map<String, Value>) -> Result<ExternalId, String> {
        match &self.agents {
            Agents::One(agent) => Ok(agent.clone()),
            Agents::Field { name, prefix } => {
                let id = label(fields.get(name)).ok_or_else(|| format!("has no {name} to name its agent"))?;
                ExternalId::parse(&format!("{prefix}{id}")).map_err(|invalid| format!("{name}: {}", invalid.detail))
            }
        }
    }

    /// A time without a zone is one of the file's zone.
    fn occurred_at(&self, fields: &Map<String, Value>) -> Result<Option<String>, String> {
        let text = match fields.get("timestamp") {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => text,
            Some(_) => return Err("timestamp: must be text".into()),
        };
        let at = match text.parse::<Timestamp>() {
            Ok(at) => Ok(at),
            Err(_) => text.parse::<DateTime>().and_then(|local| Ok(local.to_zoned(self.timezone.clone())?.timestamp())),
        };
        at.map(|at| Some(at.to_string())).map_err(|error| format!("timestamp: {error}"))
    }
}

fn content(fields: &Map<String, Value>) -> Result<Value, String> {
    let given = fields.get("content").or_else(|| fields.get("text"));
    let Some(text) = given.and_then(Value::as_str).filter(|text| !text.trim().is_empty()) else {
        return Err("has no content".into());
    };
    Ok(match fields.get("image_caption").and_then(Value::as_str).filter(|caption| !caption.trim().is_empty()) {
        Some(caption) => format!("{text} [{caption}]").into(),
        None => text.into(),
    })
}

/// The session of a conversation, and the place in it.
fn source(fields: &Map<String, Value>) -> Result<Option<Value>, String> {
    let Some(session) = label(fields.get("session")) else {
        return Ok(None);
    };
    match fields.get("seq") {
        None | Some(Value::Null) => Ok(Some(json!({"type": "conversation", "id": session}))),
        Some(Value::Number(seq)) => Ok(Some(json!({"type": "conversation", "id": session, "seq": seq}))),
        Some(_) => Err("seq: must be a number".into()),
    }
}

/// Names may be written as numbers.
fn label(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(zone: &str) -> Form {
        let agents = Agents::Field { name: "room".into(), prefix: "" };
        Form { agents, timezone: TimeZone::get(zone).expect("a known zone") }
    }

    fn memory(line: &str) -> Value {
        let record = form("UTC").read(line.as_bytes()).expect("a memory");
        serde_json::from_str(&record.json).expect("JSON")
    }

    #[test]
    fn a_turn_of_a_conversation_becomes_a_memory() {
        let line = r#"{"room":"attic","id":"a-1","session":2,"seq":0,"speaker":"Ada","timestamp":"2024-02-29T09:05",
            "text":"Look at this","image_caption":"a kettle"}"#;
        assert_eq!(
            memory(line),
            json!({"content": "Look at this [a kettle]", "key": "a-1", "speaker": "Ada", "occurred_at": "2024-02-29T09:05:00Z",
                "source": {"type": "conversation", "id": "2", "seq": 0}})
        );
    }

    #[test]
    fn what_the_api_knows_goes_as_it_is_and_wins() {
        let line = r#"{"room":7,"id":"x","key":null,"content":"Tea","text":"no","tags":["a"],"session":1,
            "source":{"type":"note","id":"n"},"timestamp":"2024-01-01T00:00","occurred_at":"2020-01-01T00:00:00Z"}"#;
        let expected = json!({"content": "Tea", "tags": ["a"], "source": {"type": "note", "id": "n"},
            "occurred_at": "2020-01-01T00:00:00Z"});
        assert_eq!(memory(line), expected);
    }

    #[test]
    fn a_local_time_is_one_of_the_zone_given() {
        let line = br#"{"room":"attic","content":"Tea","timestamp":"2024-07-01T12:00"}"#;
        let record = form("Europe/Vienna").read(line).expect("a memory");
        assert!(record.json.contains("2024-07-01T10:00:00Z"), "{}", record.json);
        let line = br#"{"room":"attic","content":"Tea","timestamp":"2024-07-01T12:00:00+05:00"}"#;
        let record = form("Europe/Vienna").read(line).expect("a memory");
        assert!(record.json.contains("2024-07-01T07:00:00Z"), "{}", record.json);
    }

    #[test]
    fn circles_are_left_out_and_told_of_where_there_are_any() {
        for (circles, told) in [("[\"c\"]", true), ("[]", false), ("null", false)] {
            let line = format!(r#"{{"room":"attic","content":"Tea","circles":{circles}}}"#);
            let record = form("UTC").read(line.as_bytes()).expect("a memory");
            assert_eq!((record.was_shared, &*record.json), (told, r#"{"content":"Tea"}"#));
            assert!(record.ignored.is_empty());
        }
    }

    #[test]
    fn unknown_fields_are_named_and_bad_lines_say_why() {
        let form = form("UTC");
        let record = form.read(br#"{"room":"attic","content":"Tea","mood":"calm"}"#).expect("a memory");
        assert_eq!(record.ignored, ["mood"]);
        let cases: [(&[u8], &str); 6] = [
            (b"{", "is no JSON object"),
            (b"[1]", "is no JSON object"),
            (br#"{"content":"Tea"}"#, "has no room"),
            (br#"{"room":"a b","content":"Tea"}"#, "room: must start"),
            (br#"{"room":"attic","text":" "}"#, "has no content"),
            (br#"{"room":"attic","text":"Tea","timestamp":"yesterday"}"#, "timestamp: "),
        ];
        for (line, reason) in cases {
            let said = form.read(line).expect_err("a reason");
            assert!(said.starts_with(reason), "{said}");
        }
    }
}
