//! What became of the circle: the verdict on all calls, and what is left of writes that were refused.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::circle::stage::{CIRCLE, Stage, Voice, request};
use crate::support::authority::Verdict;

pub struct Outcome {
    pub verdict: Verdict,
    /// The numbers of refused writes that were done all the same.
    pub traces: BTreeSet<usize>,
    /// How often a removal or an addition was sent again because nobody knew what became of it.
    repeats: usize,
    lasted: Duration,
}

impl Outcome {
    pub async fn of(stage: &Stage) -> Self {
        let (verdict, lasted) = (stage.authority.verdict(), stage.now() - stage.began);
        let repeats = stage.repeats.load(Ordering::Relaxed);
        let traces = done(stage).await.intersection(&verdict.tried).copied().collect();
        Self { verdict, traces, repeats, lasted }
    }

    pub fn is_flawless(&self) -> bool {
        self.verdict.is_flawless() && self.traces.is_empty()
    }
}

/// The numbers of the writes that the circle shows.
async fn done(stage: &Stage) -> BTreeSet<usize> {
    let mut numbers = BTreeSet::new();
    for list in ["tasks", "memories"] {
        let mut cursor = String::new();
        loop {
            let path = format!("/circles/{CIRCLE}/{list}?limit=200{cursor}");
            let page = stage.insist(&Voice::BackEnd, 0, &request("list", Method::GET, path, Value::Null)).await.body;
            let items = page["items"].as_array().expect("items").iter();
            let texts = items.flat_map(|item| [&item["title"], &item["details"], &item["content"]]);
            let words = texts.filter_map(Value::as_str).flat_map(|text| text.split(' '));
            numbers.extend(words.filter_map(|word| word.parse::<usize>().ok()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
    }
    numbers
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verdict, traces, repeats, lasted } = self;
        let rate = verdict.removals as f64 / lasted.as_secs_f64();
        let traces = traces.len();
        write!(out, "{verdict}")?;
        writeln!(out, "P2: {rate:.1} removals/s, {repeats} changes sent again, {traces} traces of refused writes")
    }
}
