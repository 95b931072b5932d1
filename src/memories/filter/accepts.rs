//! Filters held against memories in this process, with the same outcome as in Postgres.

use std::cmp::Ordering;

use serde_json::{Number, Value};
use time::OffsetDateTime;

use super::{Condition, MemoryFilter, Period};
use crate::memories::fields::Kind;

/// What a filter looks at.
#[derive(Debug, Clone)]
pub struct Filterable {
    pub kind: Kind,
    pub tags: Vec<String>,
    pub author: String,
    pub speaker: Option<String>,
    pub source_id: Option<String>,
    pub key: Option<String>,
    pub importance: f64,
    pub created_at: OffsetDateTime,
    pub occurred_at: Option<OffsetDateTime>,
    /// An object; none if it is empty.
    pub metadata: Option<Value>,
}

impl MemoryFilter {
    /// Whether every condition holds.
    pub fn accepts(&self, memory: &Filterable) -> bool {
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
        let one_of = |list: &[String], value: &Option<String>| {
            list.is_empty() || value.as_ref().is_some_and(|value| list.contains(value))
        };
        (kinds.is_empty() || kinds.contains(&memory.kind))
            && (tags_any.is_empty() || tags_any.iter().any(|tag| memory.tags.contains(tag)))
            && tags_all.iter().all(|tag| memory.tags.contains(tag))
            && (agent_ids.is_empty() || agent_ids.iter().any(|id| id.as_str() == memory.author))
            && one_of(speakers, &memory.speaker)
            && one_of(sources, &memory.source_id)
            && key.as_ref().is_none_or(|key| memory.key.as_deref() == Some(key.as_str()))
            && min_importance.is_none_or(|least| memory.importance >= least)
            && within(*created, Some(memory.created_at))
            && within(*occurred, memory.occurred_at)
            && metadata.iter().all(|(key, condition)| condition.accepts(memory.metadata.as_ref(), key))
    }
}

fn within(period: Option<Period>, moment: Option<OffsetDateTime>) -> bool {
    let Some(Period { after, before }) = period else { return true };
    after.is_none_or(|after| moment.is_some_and(|moment| moment >= after))
        && before.is_none_or(|before| moment.is_some_and(|moment| moment < before))
}

impl Condition {
    fn accepts(&self, metadata: Option<&Value>, key: &str) -> bool {
        let Some(value) = metadata.and_then(|metadata| metadata.get(key)) else { return false };
        match self {
            Self::In(values) => values.iter().any(|wanted| equal(wanted, value)),
            Self::Compare(bounds) => bounds.iter().all(|(operator, bound)| {
                let (Value::Number(value), Value::Number(bound)) = (value, bound) else { return false };
                let order = compare(value, bound);
                match *operator {
                    ">=" => order.is_ge(),
                    ">" => order.is_gt(),
                    "<=" => order.is_le(),
                    _ => order.is_lt(),
                }
            }),
        }
    }
}

fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => compare(one, other).is_eq(),
        _ => one == other,
    }
}

/// By value, as jsonb does: 1 and 1.0 are equal.
fn compare(one: &Number, other: &Number) -> Ordering {
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => one.as_f64().unwrap_or(f64::NAN).total_cmp(&other.as_f64().unwrap_or(f64::NAN)),
    }
}

fn whole(number: &Number) -> Option<i128> {
    let integer = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
    // Exact up to here; what is larger has no fraction, and compares as it is.
    integer.or_else(|| number.as_f64().filter(|x| x.fract() == 0.0 && x.abs() < 9e15).map(|x| x as i128))
}
