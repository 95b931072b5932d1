//! Advice: rules over what the caches did. Each looks at one history, says nothing below its thresholds, and gives its
//! reason in numbers; `docs/analytics.md` says why the thresholds are what they are.

mod changes;
mod history;
mod lifetime;
mod model;
mod reuse;
mod room;
mod warmups;

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

pub use history::{ChangedHistory, History, KindHistory, QueryHistory, WarmupHistory};

/// What could be better, why, and what to do.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Advice {
    pub code: AdviceCode,
    pub severity: Severity,
    pub title: String,
    pub reason: String,
    /// What the reason rests on.
    pub numbers: BTreeMap<&'static str, f64>,
    /// The setting of the server that it is about, if it is about one.
    #[schema(example = "cache.recall_ttl_secs")]
    pub setting: Option<String>,
    pub suggestion: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = AdviceSeverity)]
pub enum Severity {
    /// Something does not work.
    Critical,
    /// Something costs more than it needs to.
    Warning,
    /// Something could be had.
    Hint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdviceCode {
    TtlTooShort,
    TtlTooLong,
    LocalLayerTooSmall,
    ManyInvalidations,
    WarmupUseless,
    WarmupWorthAdding,
    LowReuse,
    EmbeddingModelChanged,
}

/// All that the rules have to say, the most serious first.
pub fn advise(history: &History) -> Vec<Advice> {
    let mut advice: Vec<Advice> = [
        model::changed(history),
        lifetime::too_short(history),
        lifetime::too_long(history),
        room::too_small(history),
        changes::many(history),
        warmups::useless(history),
        warmups::worth_adding(history),
        reuse::low(history),
    ]
    .into_iter()
    .flatten()
    .collect();
    advice.sort_by_key(|one| one.severity);
    advice
}

fn numbers<const N: usize>(numbers: [(&'static str, f64); N]) -> BTreeMap<&'static str, f64> {
    // As people read them.
    numbers.into_iter().map(|(name, number)| (name, (number * 1e4).round() / 1e4)).collect()
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_without_anything_in_it_asks_for_nothing() {
        assert_eq!(advise(&History::default()), []);
    }
}
