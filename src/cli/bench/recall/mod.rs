//! `cairn bench recall`: what a recall costs from the cache and without it, beside the parts that it is made of.

mod cases;

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::bench::generator::Effort;
use crate::cli::bench::report::{self, Machine, Row, Target};
use crate::cli::bench::site::Site;
use crate::cli::latency::Percentiles;
use crate::config::Config;
use cases::{Cases, GATE, HIT_LOCAL, HIT_REDIS, LIVEZ, MISS, MISS_EMBEDDED, Size};

#[derive(clap::Args)]
pub struct Args {
    /// Memories of the agent that is asked.
    #[arg(long, default_value_t = 10_000)]
    memories: u64,
    /// Words a memory.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=2000))]
    words: u16,
    /// How many different questions are asked again and again.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    questions: u32,
    /// How unevenly: the share of a question falls with its rank to this power (Zipf); 0: evenly.
    #[arg(long, default_value_t = 1.0)]
    exponent: f64,
    #[command(flatten)]
    effort: Effort,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    size: Size,
    /// Of an answer, on average.
    answer_bytes: usize,
    rows: Vec<Row>,
    /// While nothing of the agent is in memory.
    first_answer_ms: Percentiles,
    targets: Vec<Target>,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let report = Site::with(config, async |site| measure(&args, site).await).await?;
    report.print();
    report::write(args.json.as_deref(), &report)
}

async fn measure(args: &Args, site: &Site) -> anyhow::Result<Report> {
    let (words, questions) = (usize::from(args.words), args.questions as usize);
    let size = Size { memories: args.memories, words, questions, exponent: args.exponent };
    let cases = Cases::new(size, site)?;
    cases.fill().await?;
    let answer_bytes = cases.warm().await?;
    let first_answer_ms = cases.first().await?;
    cases.warm().await?;
    let lasting = cases.lasting(answer_bytes).await?;
    let rows = args.effort.measure(|number| Ok(lasting.iter().cloned().chain([cases.cold(number)]).collect()));
    let rows = rows.await?;
    let machine = Machine::this(site.instance.app.embedder.pin());
    let targets = targets(&rows, first_answer_ms.p50, args.memories);
    Ok(Report { machine, size, answer_bytes, first_answer_ms, targets, rows })
}

impl Report {
    fn print(&self) {
        let Size { memories, words, questions, exponent } = self.size;
        self.machine.print();
        println!(
            "{memories} memories of {words} words; {questions} questions by Zipf, exponent {exponent}; {} bytes an answer\n",
            self.answer_bytes
        );
        report::print_rows(&self.rows);
        report::print_targets(&self.targets);
    }
}

/// What the caches are for, as far as it was measured.
fn targets(rows: &[Row], first_ms: f64, memories: u64) -> Vec<Target> {
    let (few, many) = report::least_and_most(rows);
    let median = |case| report::median(rows, case, few);
    let pace = |case| rows.iter().find(|row| row.case == case && row.clients == many).map(|row| row.calls_per_second);
    let share = |of| Some(pace(HIT_LOCAL)? / pace(of)?.max(1e-9));
    let speedup = || Some(median(MISS)? / median(HIT_LOCAL)?.max(1e-9));
    let computed = || Some(pace(MISS_EMBEDDED)? / pace(HIT_LOCAL)?.max(1e-9));
    let p99 = rows.iter().find(|row| row.case == MISS_EMBEDDED && row.clients == few).map(|row| row.latency_ms.p99);
    let soon = if memories > 5_000 { 2.0 } else { 1.0 };
    let all = [
        Target::at_most(format!("miss, embedded, p50 with {few} client(s)"), soon, median(MISS_EMBEDDED)),
        Target::at_most(format!("miss, embedded, p99 with {few} client(s)"), 3.0, p99),
        Target::at_most(format!("miss, p50 with {few} client(s)"), 10.0, median(MISS)),
        Target::at_most("first answer, nothing of the agent in memory, p50".into(), 40.0, Some(first_ms)),
        Target::at_least(format!("misses, embedded, over hits, calls/s with {many} client(s)"), Some(0.4), computed()),
        Target::at_most(format!("hit, local layer, p50 with {few} client(s)"), 0.4, median(HIT_LOCAL)),
        Target::at_most(format!("hit, Redis, p50 with {few} client(s)"), 0.6, median(HIT_REDIS)),
        Target::at_least(format!("hits over gates in process, calls/s with {many} client(s)"), Some(0.6), share(GATE)),
        Target::at_least(format!("hits over /livez, calls/s with {many} client(s)"), None, share(LIVEZ)),
        Target::at_least(format!("miss over hit, local layer, p50 with {few} client(s)"), Some(20.0), speedup()),
    ];
    all.into_iter().flatten().collect()
}
