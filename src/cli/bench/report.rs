//! Figures of comparisons: as a table, as JSON, and against what they should be.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::cli::bench::generator::Measured;
use crate::cli::bench::table;
use crate::cli::latency::Percentiles;

/// Where something was measured.
#[derive(Serialize)]
pub struct Machine {
    build: &'static str,
    cores: usize,
    embedding_model: String,
}

/// A case with a number of clients.
#[derive(Serialize)]
pub struct Row {
    pub case: &'static str,
    pub clients: usize,
    pub calls_per_second: f64,
    /// None where nothing was asked of a cache.
    hit_ratio: Option<f64>,
    hits_local: u64,
    hits_redis: u64,
    misses: u64,
    pub latency_ms: Percentiles,
}

/// A figure that was promised. Those without a limit are there to be seen.
#[derive(Serialize)]
pub struct Target {
    name: String,
    target: String,
    seen: String,
    met: Option<bool>,
}

impl Machine {
    pub fn this(embedding_model: &str) -> Self {
        Self {
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            embedding_model: embedding_model.to_owned(),
        }
    }

    pub fn print(&self) {
        println!("model {}; {} cores, for clients, servers and databases together", self.embedding_model, self.cores);
        if self.build == "debug" {
            println!("this is a debug build; a release build is faster");
        }
    }
}

impl Row {
    pub fn of(case: &'static str, clients: usize, measured: &Measured) -> Self {
        Self {
            case,
            clients,
            calls_per_second: measured.calls_per_second(),
            hit_ratio: measured.hit_ratio(),
            hits_local: measured.hits_local,
            hits_redis: measured.hits_redis,
            misses: measured.misses,
            latency_ms: measured.latencies.percentiles(),
        }
    }
}

pub fn print_rows(rows: &[Row]) {
    let header = ["", "clients"].into_iter().chain(Percentiles::HEADER).chain(["calls/s", "hits"]);
    let mut lines = table(header);
    for row in rows {
        let hits = row.hit_ratio.map_or_else(String::new, |ratio| format!("{:.1} %", ratio * 100.0));
        let numbers = row.latency_ms.cells().into_iter().chain([format!("{:.0}", row.calls_per_second), hits]);
        lines.add_row([row.case.to_owned(), row.clients.to_string()].into_iter().chain(numbers));
    }
    println!("{lines}\n");
}

pub fn print_targets(targets: &[Target]) {
    let mut lines = table(["", "target", "seen", ""]);
    for target in targets {
        let verdict = target.met.map_or("", |met| if met { "met" } else { "missed" });
        lines.add_row([&target.name, &target.target, &target.seen, verdict]);
    }
    println!("{lines}");
}

pub fn write(path: Option<&Path>, report: &impl Serialize) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, serde_json::to_vec_pretty(report)?).with_context(|| format!("writing {}", path.display()))
}

/// The median of a case with so many clients, where it was measured.
pub fn median(rows: &[Row], case: &str, clients: usize) -> Option<f64> {
    rows.iter().find(|row| row.case == case && row.clients == clients).map(|row| row.latency_ms.p50)
}

/// The least and the most clients that were measured.
pub fn least_and_most(rows: &[Row]) -> (usize, usize) {
    let clients = || rows.iter().map(|row| row.clients);
    (clients().min().unwrap_or(0), clients().max().unwrap_or(0))
}

impl Target {
    pub fn at_most(name: String, limit_ms: f64, seen_ms: Option<f64>) -> Option<Self> {
        let seen = seen_ms?;
        let target = format!("<= {limit_ms} ms");
        Some(Self { name, target, seen: format!("{seen:.3} ms"), met: Some(seen <= limit_ms) })
    }

    /// As many times as another figure.
    pub fn at_most_times(name: String, limit: f64, seen: Option<f64>) -> Option<Self> {
        let seen = seen?;
        Some(Self { name, target: format!("<= {limit} x"), seen: format!("{seen:.2} x"), met: Some(seen <= limit) })
    }

    pub fn at_least(name: String, limit: Option<f64>, seen: Option<f64>) -> Option<Self> {
        let seen = seen?;
        let target = limit.map_or_else(String::new, |limit| format!(">= {limit}"));
        Some(Self { name, target, seen: format!("{seen:.2}"), met: limit.map(|limit| seen >= limit) })
    }
}
