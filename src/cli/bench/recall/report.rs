//! The figures as a table, as JSON, and against what they should be.

use serde::Serialize;

use crate::cli::bench::recall::slices::Measured;
use crate::cli::bench::table;
use crate::cli::latency::Percentiles;

#[derive(Serialize)]
pub struct Report {
    pub build: &'static str,
    pub cores: usize,
    pub embedding_model: String,
    pub memories: u64,
    pub words: u16,
    pub questions: usize,
    pub exponent: f64,
    /// Of an answer, on average.
    pub answer_bytes: usize,
    pub rows: Vec<Row>,
    pub targets: Vec<Target>,
}

/// A case with a number of clients.
#[derive(Serialize)]
pub struct Row {
    pub case: &'static str,
    pub clients: usize,
    pub calls_per_second: f64,
    pub hit_ratio: Option<f64>,
    pub hits_local: u64,
    pub hits_redis: u64,
    pub misses: u64,
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

/// Names of cases that figures are compared by.
pub const LIVEZ: &str = "/livez";
pub const GATE: &str = "gate, in process";
pub const GATE_HTTP: &str = "gate, over HTTP";
pub const REDIS_GET: &str = "Redis GET";
pub const HIT_LOCAL: &str = "recall: hit, local";
pub const HIT_REDIS: &str = "recall: hit, Redis";
pub const MISS_EMBEDDED: &str = "recall: miss, embedded";
pub const MISS: &str = "recall: miss";
pub const FROM_COLD: &str = "recall: from cold";

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

impl Report {
    pub fn print(&self) {
        let header = ["", "clients"].into_iter().chain(Percentiles::HEADER).chain(["calls/s", "hits"]);
        let mut rows = table(header);
        for row in &self.rows {
            let hits = row.hit_ratio.map_or_else(String::new, |ratio| format!("{:.1} %", ratio * 100.0));
            let numbers = row.latency_ms.cells().into_iter().chain([format!("{:.0}", row.calls_per_second), hits]);
            rows.add_row([row.case.to_owned(), row.clients.to_string()].into_iter().chain(numbers));
        }
        let mut targets = table(["", "target", "seen", ""]);
        for target in &self.targets {
            let verdict = target.met.map_or("", |met| if met { "met" } else { "missed" });
            targets.add_row([&target.name, &target.target, &target.seen, verdict]);
        }
        println!("{rows}\n\n{targets}");
    }
}

/// What the caches are for, as far as the cases were measured.
pub fn targets(rows: &[Row]) -> Vec<Target> {
    let clients = || rows.iter().map(|row| row.clients);
    let (Some(few), Some(many)) = (clients().min(), clients().max()) else {
        return Vec::new();
    };
    let row = |case, clients| rows.iter().find(move |row| row.case == case && row.clients == clients);
    let median = |case| row(case, few).map(|row| row.latency_ms.p50);
    let share = |of| Some(row(HIT_LOCAL, many)?.calls_per_second / row(of, many)?.calls_per_second.max(1e-9));
    let speedup = || Some(median(MISS)? / median(HIT_LOCAL)?.max(1e-9));
    let all = [
        at_most(format!("hit, local layer, p50 at {few} client(s)"), 0.4, median(HIT_LOCAL)),
        at_most(format!("hit, Redis, p50 at {few} client(s)"), 0.6, median(HIT_REDIS)),
        at_least(format!("hits/s over gates/s in process, {many} clients"), Some(0.6), share(GATE)),
        at_least(format!("hits/s over /livez/s, {many} clients"), None, share(LIVEZ)),
        at_least(format!("miss over hit, local layer, p50 at {few} client(s)"), Some(20.0), speedup()),
    ];
    all.into_iter().flatten().collect()
}

fn at_most(name: String, limit_ms: f64, seen_ms: Option<f64>) -> Option<Target> {
    let seen = seen_ms?;
    Some(Target {
        name,
        target: format!("<= {limit_ms} ms"),
        seen: format!("{seen:.3} ms"),
        met: Some(seen <= limit_ms),
    })
}

fn at_least(name: String, limit: Option<f64>, seen: Option<f64>) -> Option<Target> {
    let seen = seen?;
    let target = limit.map_or_else(String::new, |limit| format!(">= {limit}"));
    Some(Target { name, target, seen: format!("{seen:.2}"), met: limit.map(|limit| seen >= limit) })
}
