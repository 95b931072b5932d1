//! `cairn bench warmups`: how many recalls hit while memories change, with and without warm-ups, with and without
//! warming again after changes; four tenants of one server at the same time, with the same calls in the same order.

mod tenant;
mod workload;

use std::path::PathBuf;
use std::time::Duration;

use comfy_table::Table;
use futures_util::future::try_join_all;
use serde::Serialize;

use crate::cli::bench::report::{self, Machine};
use crate::cli::bench::site::Site;
use crate::cli::bench::table;
use crate::cli::latency::Percentiles;
use crate::cli::progress::Progress;
use crate::config::Config;
use tenant::Prepared;

#[derive(clap::Args)]
pub struct Args {
    /// How long.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Calls a second, of each of the four tenants.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// Of a hundred calls, so many remember something.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=100))]
    writes_percent: u32,
    #[command(flatten)]
    size: Size,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How much of everything a tenant has.
#[derive(Debug, Clone, Copy, Serialize, clap::Args)]
pub struct Size {
    /// Agents; the first is asked most (Zipf, exponent 1).
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    agents: u16,
    /// Different questions to an agent; the first is asked most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    questions: u16,
    /// Of them, so many a warm-up knows.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    warmed: u16,
    /// Memories of an agent.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    memories: u32,
}

/// What one tenant does to have its answers ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Variant {
    warmups: bool,
    rewarm: bool,
}

impl Variant {
    const ALL: [Self; 4] = [
        Self { warmups: false, rewarm: false },
        Self { warmups: true, rewarm: false },
        Self { warmups: false, rewarm: true },
        Self { warmups: true, rewarm: true },
    ];

    fn name(self) -> &'static str {
        match (self.warmups, self.rewarm) {
            (false, false) => "cold",
            (true, false) => "warm-up each minute",
            (false, true) => "warmed again after changes",
            (true, true) => "both",
        }
    }
}

/// What a tenant saw.
#[derive(Debug, Serialize)]
pub struct Outcome {
    variant: Variant,
    recalls: u64,
    hits: u64,
    /// Of the first minute.
    first_minute_hit_rate: f64,
    hit_rate: f64,
    /// From a change to the next hit, of questions asked at least three times since the change before.
    next_hit_ms: Percentiles,
    recall_ms: Percentiles,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    size: Size,
    minutes: u64,
    rate: u32,
    writes_percent: u32,
    outcomes: Vec<Outcome>,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let report = Site::as_configured(config, async |site| measure(&args, site).await).await?;
    report.print();
    report::write(args.json.as_deref(), &report)
}

async fn measure(args: &Args, site: &Site) -> anyhow::Result<Report> {
    let mut prepared = Vec::new();
    for variant in Variant::ALL {
        prepared.push(Prepared::start(site, variant, args.size).await?);
    }
    let progress = Progress::new(args.minutes * 60);
    let workload = workload::Workload {
        size: args.size,
        rate: args.rate,
        writes_percent: args.writes_percent,
        time: Duration::from_secs(args.minutes * 60),
    };
    let outcomes = try_join_all(prepared.iter().map(|one| workload.run(one, &progress))).await;
    progress.end();
    for one in prepared {
        one.end(site).await?;
    }
    let machine = Machine::this(site.instance.app.embedder.pin());
    let Args { minutes, rate, writes_percent, size, .. } = *args;
    Ok(Report { machine, size, minutes, rate, writes_percent, outcomes: outcomes? })
}

impl Report {
    fn print(&self) {
        let Size { agents, questions, warmed, memories } = self.size;
        self.machine.print();
        println!(
            "four tenants, each {} calls/s for {} min, {} % of them remember; {agents} agents of {memories} memories, \
             {questions} questions each, {warmed} of them in warm-ups\n",
            self.rate, self.minutes, self.writes_percent
        );
        let header = ["", "recalls", "hits, 1st min", "hits", "next hit p50 ms", "p95", "recall p50 ms", "p95", "p99"];
        let mut rows: Table = table(header);
        for outcome in &self.outcomes {
            let (next, recall) = (&outcome.next_hit_ms, &outcome.recall_ms);
            rows.add_row([
                outcome.variant.name().to_owned(),
                outcome.recalls.to_string(),
                format!("{:.1} %", outcome.first_minute_hit_rate * 100.0),
                format!("{:.1} %", outcome.hit_rate * 100.0),
                format!("{:.0}", next.p50),
                format!("{:.0}", next.p95),
                format!("{:.2}", recall.p50),
                format!("{:.2}", recall.p95),
                format!("{:.2}", recall.p99),
            ]);
        }
        println!("{rows}");
    }
}
