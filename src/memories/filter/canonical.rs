//! Filters as text, for the names of cached answers: two that mean the same read the same.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{Condition, MemoryFilter, Period};

impl MemoryFilter {
    /// None if it lets everything pass. The order of alternatives does not matter, nor does saying one twice.
    pub fn canonical(&self) -> Option<Value> {
        if self.is_empty() {
            return None;
        }
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
        Some(json!({
            "kinds": set(kinds.iter().map(|kind| kind.name())),
            "tags_any": set(tags_any),
            "tags_all": set(tags_all),
            "agent_ids": set(agent_ids.iter().map(|id| id.as_str())),
            "speakers": set(speakers),
            "sources": set(sources),
            "key": key.as_ref().map(|key| key.as_str()),
            "min_importance": min_importance,
            "created": created.map(period),
            "occurred": occurred.map(period),
            // A map of JSON is in the order of its keys.
            "metadata": metadata.iter().map(|(key, condition)| (key.clone(), condition.canonical())).collect::<serde_json::Map<_, _>>(),
        }))
    }
}

impl Condition {
    fn canonical(&self) -> Value {
        match self {
            Self::In(values) => json!({"in": set(values.iter().map(Value::to_string))}),
            Self::Compare(bounds) => bounds.iter().map(|(operator, number)| json!([operator, number])).collect(),
        }
    }
}

fn set<T: Into<String>>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut items: Vec<String> = items.into_iter().map(Into::into).collect();
    items.sort_unstable();
    items.dedup();
    items
}

/// Nanoseconds since 1970: how a moment was written down does not matter.
fn period(period: Period) -> Value {
    let nanos = |moment: Option<OffsetDateTime>| moment.map(|moment| moment.unix_timestamp_nanos().to_string());
    json!([nanos(period.after), nanos(period.before)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{FromJson, MAX_DEPTH, parse};

    fn canonical(json: &str) -> Option<Value> {
        let json = parse(json.as_bytes(), MAX_DEPTH).expect("JSON");
        MemoryFilter::from_json(&json).expect("a filter").canonical()
    }

    #[test]
    fn filters_that_mean_the_same_read_the_same() {
        let pairs = [
            (r#"{"tags_any":["a","b"],"kinds":["fact"]}"#, r#"{"kinds":["fact","fact"],"tags_any":["b","a","b"]}"#),
            (r#"{"metadata":{"x":1,"y":{"in":["a","b"]}}}"#, r#"{"metadata":{"y":{"in":["b","a"]},"x":1}}"#),
            (r#"{"metadata":{"x":{"lt":9,"gte":2}}}"#, r#"{"metadata":{"x":{"gte":2.0,"lt":9.0}}}"#),
            (r#"{"created":{"after":"2026-01-01T00:00:00Z"}}"#, r#"{"created":{"after":"2026-01-01T01:00:00+01:00"}}"#),
        ];
        for (one, other) in pairs {
            assert_eq!(canonical(one), canonical(other), "{one} {other}");
        }
        assert_eq!(canonical("{}"), None);
    }

    #[test]
    fn filters_that_differ_read_differently() {
        let filters = [
            r#"{"tags_any":["a","b"]}"#,
            r#"{"tags_all":["a","b"]}"#,
            r#"{"tags_any":["a"]}"#,
            r#"{"speakers":["a","b"]}"#,
            r#"{"sources":["a","b"]}"#,
            r#"{"agent_ids":["a","b"]}"#,
            r#"{"kinds":["fact"]}"#,
            r#"{"key":"a"}"#,
            r#"{"min_importance":0.5}"#,
            r#"{"created":{"after":"2026-01-01T00:00:00Z"}}"#,
            r#"{"created":{"before":"2026-01-01T00:00:00Z"}}"#,
            r#"{"occurred":{"after":"2026-01-01T00:00:00Z"}}"#,
            r#"{"metadata":{"x":"1"}}"#,
            r#"{"metadata":{"x":1}}"#,
            r#"{"metadata":{"x":{"in":[1,2]}}}"#,
            r#"{"metadata":{"x":{"lt":1}}}"#,
            r#"{"metadata":{"x":{"lte":1}}}"#,
        ];
        let read: std::collections::HashSet<String> =
            filters.iter().map(|filter| canonical(filter).expect("conditions").to_string()).collect();
        assert_eq!(read.len(), filters.len());
    }
}
