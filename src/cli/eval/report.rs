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
    /// Without something, by its name: a rule of ranking, or what memories say of themselves.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub without: BTreeMap<String, ModeReport>,
}

#[derive(Serialize)]
pub struct ModeReport {
    pub mode: Mode,
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
        let mut table = table(self.mode.name(), &self.overall);
        table.add_row(cells("overall", &self.overall));
        let mut categories: Vec<_> = self.categories.iter().collect();
        categories.sort_by_key(|(_, metrics)| std::cmp::Reverse(metrics.questions));
        table.add_rows(categories.into_iter().map(|(name, metrics)| cells(name, metrics)));
        align(&mut table);
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

impl Report {
    /// What each thing left out does to the whole.
    pub fn print_ablation(&self, whole: &ModeReport) {
        let mut table = table("without", &whole.overall);
        table.add_row(cells("nothing", &whole.overall));
        let rows = self.without.iter().map(|(name, report)| cells(name, &report.overall));
        table.add_rows(rows);
        align(&mut table);
        println!("{table}\n");
    }
}

fn table(name: &str, metrics: &Metrics) -> Table {
    let recalls = metrics.recall.keys().map(|k| format!("R@{k}"));
    let measures = recalls.chain(metrics.hit.keys().map(|k| format!("hit@{k}")));
    let header = [name.to_owned(), "n".into()].into_iter().chain(measures).chain(["MRR", "nDCG@10"].map(String::from));
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.collect::<Vec<_>>());
    table
}

/// Figures to the right.
fn align(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn cells(name: &str, metrics: &Metrics) -> Vec<String> {
    let measures = metrics.recall.values().chain(metrics.hit.values()).copied().chain([metrics.mrr, metrics.ndcg_10]);
    let shown = measures.map(|share| format!("{:.1}", share * 100.0));
    [name.to_owned(), metrics.questions.to_string()].into_iter().chain(shown).collect()
}
