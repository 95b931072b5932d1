//! Filters as the JSON they are read from.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Condition, MemoryFilter, Period};

impl MemoryFilter {
    /// Reads back as it is.
    pub fn to_json(&self) -> Value {
        // Taken apart as a whole, so that no new condition can be forgotten.
        let Self {
            kinds,
            tags_any,
            tags_all,
            agent_ids,
            speakers,
            sources,
            key,
            min_importance,
            created,
            occurred,
            metadata,
        } = self;
        let kinds: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
        let metadata: Map<_, _> = metadata.iter().map(|(key, condition)| (key.clone(), condition.to_json())).collect();
        let members = [
            ("kinds", list(&kinds)),
            ("tags_any", list(tags_any)),
            ("tags_all", list(tags_all)),
            ("agent_ids", list(agent_ids)),
            ("speakers", list(speakers)),
            ("sources", list(sources)),
            ("key", key.as_ref().map(|key| json!(key.as_str()))),
            ("min_importance", min_importance.map(Value::from)),
            ("created", created.map(period)),
            ("occurred", occurred.map(period)),
            ("metadata", (!metadata.is_empty()).then_some(Value::Object(metadata))),
        ];
        let given = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(given.collect())
    }
}

impl Condition {
    fn to_json(&self) -> Value {
        match self {
            Self::In(values) => json!({ "in": values }),
            Self::Compare(bounds) => {
                let name = |operator: &str| match operator {
                    ">=" => "gte",
                    ">" => "gt",
                    "<=" => "lte",
                    _ => "lt",
                };
                Value::Object(bounds.iter().map(|(operator, number)| (name(operator).into(), number.clone())).collect())
            }
        }
    }
}

/// None where nothing is listed: an empty list is refused.
fn list<T: serde::Serialize>(items: &[T]) -> Option<Value> {
    (!items.is_empty()).then(|| json!(items))
}

fn period(period: Period) -> Value {
    let written = |moment: Option<OffsetDateTime>| moment.and_then(|moment| moment.format(&Rfc3339).ok());
    json!({"after": written(period.after), "before": written(period.before)})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{FromJson, MAX_DEPTH, parse};

    fn read(json: &str) -> MemoryFilter {
        MemoryFilter::from_json(&parse(json.as_bytes(), MAX_DEPTH).expect("JSON")).expect("a filter")
    }

    #[test]
    fn a_filter_reads_back_as_it_was_written() {
        let filters = [
            "{}",
            r#"{"kinds":["fact","event"],"tags_any":["a"],"tags_all":["b","c"],"agent_ids":["ada"]}"#,
            r#"{"speakers":["user"],"sources":["s-1"],"key":"k","min_importance":0.25}"#,
            r#"{"created":{"after":"2026-01-02T03:04:05.678Z"},"occurred":{"before":"2026-01-02T03:04:05+02:00"}}"#,
            r#"{"metadata":{"room":"attic","floor":{"in":[1,"2",null,true]},"size":{"gte":1,"lt":2.5}}}"#,
            r#"{"metadata":{"size":{"gt":1,"lte":3}}}"#,
        ];
        for filter in filters {
            let (once, again) = (read(filter), read(&read(filter).to_json().to_string()));
            assert_eq!(again.canonical(), once.canonical(), "{filter}");
            assert_eq!(once.is_empty(), filter == "{}");
        }
    }
}
