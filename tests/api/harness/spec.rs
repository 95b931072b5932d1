//! Holds every answer of every test against the specification: its status, its headers, its shape, no member besides.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use reqwest::header::HeaderMap;
use serde_json::{Map, Value};

static SPECIFICATION: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(cairn::server::openapi()).expect("the specification is JSON"));

/// What any request may meet before it reaches its route, or when something breaks.
const ANYWHERE: [u16; 6] = [405, 408, 414, 431, 500, 504];

pub fn check(method: &str, path: &str, status: u16, headers: &HeaderMap, body: &str) {
    let path = path.split('?').next().unwrap_or_default();
    let Some(operation) = operation(method, path) else { return };
    let response = &operation["responses"][status.to_string()];
    if response.is_null() {
        assert!(ANYWHERE.contains(&status), "{method} {path} answers {status}, which is not in the specification");
        return;
    }
    for name in response["headers"].as_object().into_iter().flat_map(Map::keys) {
        assert!(headers.contains_key(name.to_lowercase()), "{method} {path} {status}: no {name}");
    }
    let Some(content) = response["content"].as_object() else { return };
    let Some((media, content)) = content.iter().next() else { return };
    if media == "application/x-ndjson" {
        for line in body.lines() {
            let line: Value =
                serde_json::from_str(line).unwrap_or_else(|_| panic!("{method} {path}: not JSON: {line}"));
            if let Err(error) = matches(&content["schema"], &line) {
                panic!("{method} {path} {status}: {error}");
            }
        }
    } else if media.contains("json") {
        let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{method} {path}: not JSON: {body}"));
        if let Err(error) = matches(&content["schema"], &body) {
            panic!("{method} {path} {status}: {error}");
        }
    }
}

fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let fits = |template: &str| {
        let (wanted, given): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
        wanted.len() == given.len()
            && wanted.iter().zip(given).all(|(wanted, given)| wanted.starts_with('{') || *wanted == given)
    };
    let paths = SPECIFICATION["paths"].as_object()?;
    let (_, item) = paths.iter().find(|(template, _)| fits(template))?;
    item.get(method.to_lowercase())
}

fn resolved(schema: &Value) -> &Value {
    match schema["$ref"].as_str() {
        Some(reference) => SPECIFICATION.pointer(reference.trim_start_matches('#')).map_or(schema, resolved),
        None => schema,
    }
}

/// The members of an object schema and which of them are required, gathered over `allOf`.
fn members<'a>(schema: &'a Value, into: &mut BTreeMap<&'a str, (&'a Value, bool)>) {
    let schema = resolved(schema);
    schema["allOf"].as_array().into_iter().flatten().for_each(|part| members(part, into));
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        into.insert(name, (member, required.contains(&name.as_str())));
    }
}

fn matches(schema: &Value, value: &Value) -> Result<(), String> {
    let schema = resolved(schema);
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = choices.iter().any(|choice| matches(choice, value).is_ok());
        return if fits { Ok(()) } else { Err(format!("{value} fits none of {choices:?}")) };
    }
    match value {
        Value::Object(object) => object_matches(schema, object),
        Value::Array(items) => items.iter().try_for_each(|item| matches(&schema["items"], item)),
        other => scalar_matches(schema, other),
    }
}

fn object_matches(schema: &Value, object: &Map<String, Value>) -> Result<(), String> {
    let mut known = BTreeMap::new();
    members(schema, &mut known);
    if known.is_empty() {
        return Ok(());
    }
    for (name, (member, required)) in &known {
        match object.get(*name) {
            Some(value) => matches(member, value).map_err(|error| format!("{name}: {error}"))?,
            None if *required => return Err(format!("{name} is missing")),
            None => {}
        }
    }
    match object.keys().find(|name| !known.contains_key(name.as_str())) {
        Some(name) => Err(format!("{name} is not in the specification")),
        None => Ok(()),
    }
}

fn scalar_matches(schema: &Value, value: &Value) -> Result<(), String> {
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        _ => "string",
    };
    let fits = |wanted: &str| wanted == name || (wanted == "number" && name == "integer");
    let allowed = match &schema["type"] {
        Value::String(wanted) => fits(wanted),
        Value::Array(wanted) => wanted.iter().filter_map(Value::as_str).any(fits),
        _ => true,
    };
    if allowed { Ok(()) } else { Err(format!("{value} is not {}", schema["type"])) }
}
