//! What an evaluation found: tables for people, JSON for programs.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::cli::answers::Mode;
use crate::cli::eval::ask::Asked;
use crate::cli::eval::score::{Metrics, Scored};
use crate::cli::latency::Percentiles;

#[derive(Serialize)]
pub struct Report {
    pub url: String,
    /// Results asked for; the reciprocal rank knows no places beyond.
    pub depth: usize,
    pub modes: Vec<ModeReport>,
}

#[derive(Serialize)]
pub struct ModeReport {
    mode: Mode,
    overall: Metrics,
    categories: BTreeMap<String, Metrics>,
    latency_ms: Percentiles,
    seconds: f64,
    warnings: BTreeMap<String, u64>,
    questions: Vec<Scored>,
}

impl ModeReport {
    pub fn new(mode: Mode, asked: Asked, cutoffs: &[usize]) -> Self {
        let names: BTreeSet<&String> = asked.scored.iter().map(|one| &one.category).collect();
        let of = |name: &String| Metrics::of(asked.scored.iter().filter(|one| one.category == *name), cutoffs);
        Self {
            mode,
            overall: Metrics::of(asked.scored.iter(), cutoffs),
            categories: names.into_iter().map(|name| (name.clone(), of(name))).collect(),
            latency_ms: asked.latencies.percentiles(),
            seconds: asked.took.as_secs_f64(),
            warnings: asked.warnings,
            questions: asked.scored,
        }
    }

    /// The table, and lines about time and warnings.
    pub fn print(&self) {
        let mut table = Table::new();
        let cutoffs = self.overall.recall.keys().map(|k| format!("R@{k}"));
        let measures = cutoffs.chain(["hit@10", "MRR", "nDCG@10"].map(String::from));
        let header: Vec<String> = [self.mode.name().into(), "n".into()].into_iter().chain(measures).collect();
        let columns = header.len();
        table.load_style(presets::NOTHING).set_header(header);
        table.add_row(cells("overall", &self.overall));
        let mut categories: Vec<_> = self.categories.iter().collect();
        categories.sort_by_key(|(_, metrics)| std::cmp::Reverse(metrics.questions));
        table.add_rows(categories.into_iter().map(|(name, metrics)| cells(name, metrics)));
        for index in 1..columns {
            if let Some(column) = table.column_mut(index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        println!("{table}");
        let Percentiles { count, p50, p95, p99, max } = self.latency_ms;
        println!(
            " {count} calls in {:.1} s; ms a call: p50 {p50:.1}, p95 {p95:.1}, p99 {p99:.1}, max {max:.1}",
            self.seconds
        );
        for (code, count) in &self.warnings {
            println!(" {count} answers with the warning {code}");
        }
        println!();
    }
}

fn cells(name: &str, metrics: &Metrics) -> Vec<String> {
    let measures = metrics.recall.values().copied().chain([metrics.hit_10, metrics.mrr, metrics.ndcg_10]);
    let shown = measures.map(|share| format!("{:.1}", share * 100.0));
    [name.to_owned(), metrics.questions.to_string()].into_iter().chain(shown).collect()
}
