//! `cairn bench ingest`: what remembering costs, alone and together, from the first memory to the last, and what a
//! memory takes where it is kept.

mod cases;
mod growth;
mod sizes;

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::bench::generator::Effort;
use crate::cli::bench::report::{self, Machine, Row, Target};
use crate::cli::bench::site::Site;
use crate::cli::bench::tables::Tables;
use crate::config::Config;
use cases::{EMBED, IMPORT, REMEMBER_MANY, REMEMBER_ONE, cases};
use growth::Tenth;
use sizes::Sizes;

#[derive(clap::Args)]
pub struct Args {
    /// Words a memory.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=2000))]
    words: u16,
    /// How many texts are embedded beforehand: an agent remembers each once.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    texts: u32,
    /// How many memories one agent gets, one after the other, each embedded beforehand.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    grow: u32,
    #[command(flatten)]
    effort: Effort,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    words: u16,
    rows: Vec<Row>,
    growth: Vec<Tenth>,
    sizes: Sizes,
    targets: Vec<Target>,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let report = Site::with(config, async |site| measure(&args, site).await).await?;
    report.print();
    report::write(args.json.as_deref(), &report)
}

async fn measure(args: &Args, site: &Site) -> anyhow::Result<Report> {
    let (owner, words) = (site.owner().await?, usize::from(args.words));
    let cases = cases(site, owner, words, args.texts as usize).await?;
    let rows = args.effort.measure(|_| Ok(cases.clone())).await?;
    let (count, before) = (u64::from(args.grow), Tables::measure(site).await?);
    let growth = growth::run(site, &owner, count, words).await?;
    let sizes = sizes::after(site, before, count, growth.text_bytes).await?;
    let machine = Machine::this(site.instance.app.embedder.pin());
    let targets = targets(&rows, &growth.tenths);
    Ok(Report { machine, words: args.words, rows, growth: growth.tenths, sizes, targets })
}

impl Report {
    fn print(&self) {
        self.machine.print();
        println!("{} words a memory\n", self.words);
        report::print_rows(&self.rows);
        growth::print(&self.growth);
        self.sizes.print();
        report::print_targets(&self.targets);
    }
}

fn targets(rows: &[Row], growth: &[Tenth]) -> Vec<Target> {
    let (few, many) = report::least_and_most(rows);
    let row = |case, clients| rows.iter().find(|row| row.case == case && row.clients == clients);
    let pace = |case, clients| row(case, clients).map(|row| row.calls_per_second);
    let texts = |case| pace(case, few).map(|calls| calls * cases::BATCH as f64);
    let share = || Some(texts(IMPORT)? / texts(EMBED)?.max(1e-9));
    let worst = growth.iter().map(|tenth| tenth.latency_ms.p95).fold(0.0, f64::max);
    let slowdown = growth.first().map(|first| worst / first.latency_ms.p95.max(1e-9));
    let one = format!("remember, embedded, p50 with {few} client(s)");
    let all = [
        Target::at_most(one, 2.5, report::median(rows, REMEMBER_ONE, few)),
        Target::at_least(
            format!("remember, embedded, calls/s with {many} client(s)"),
            Some(1_500.0),
            pace(REMEMBER_MANY, many),
        ),
        Target::at_least(format!("import over the embedder alone, texts/s with {few} client(s)"), Some(0.95), share()),
        Target::at_most_times("slowest tenth over the first, p95".into(), 1.3, slowdown),
    ];
    all.into_iter().flatten().collect()
}
