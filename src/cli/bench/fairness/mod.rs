//! `cairn bench fairness`: what a tenant that calls steadily sees of another one far over its quota, with limits and
//! turns, and without them.

mod load;
mod pace;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::cli::bench::report::{self, Machine, Target};
use crate::cli::bench::site::Site;
use crate::cli::bench::table;
use crate::cli::latency::Percentiles;
use crate::cli::progress::Progress;
use crate::config::Config;
use load::Load;
use pace::Seen;

#[derive(clap::Args)]
pub struct Args {
    /// Calls a second of the steady tenant: recalls of new questions and of known ones, and now and then a memory.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    steady: u32,
    /// Quota of the other tenant, in requests a second; it sends `times` as many.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    quota: u32,
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    times: u32,
    /// Quota of the other tenant, in tokens embedded a minute.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
    /// Memories of each of them at the start.
    #[arg(long, default_value_t = 2_000)]
    memories: u64,
    /// How long each case is measured, in slices by turns.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..))]
    seconds: u64,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The steady tenant alone takes turns with both together, so that what else the machine does hits both.
const SLICE: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct Report {
    machine: Machine,
    sides: Vec<Side>,
    targets: Vec<Target>,
}

/// With everything that keeps tenants apart, or without.
#[derive(Serialize)]
struct Side {
    name: &'static str,
    alone: Steady,
    beside: Steady,
    /// What became of the calls of the other tenant, by status.
    crowd: Seen,
}

#[derive(Serialize)]
struct Steady {
    latency_ms: Percentiles,
    errors: u64,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let with = Site::with(config, async |site| side(&args, site, true).await).await?;
    let mut open = config.clone();
    open.database.fair = false;
    let without = Site::with(&open, async |site| side(&args, site, false).await).await?;
    let machine = Machine::this(&with.1);
    let sides = vec![with.0, without.0];
    let targets = targets(&sides);
    let report = Report { machine, sides, targets };
    report.print(&args);
    report::write(args.json.as_deref(), &report)
}

async fn side(args: &Args, site: &Site, is_limited: bool) -> anyhow::Result<(Side, String)> {
    let load = Load::prepare(args, site, is_limited).await?;
    let (alone, beside, crowd) = measure(args, &load).await?;
    let name = if is_limited { "limits and turns" } else { "neither" };
    let side = Side { name, alone: alone.into(), beside: beside.into(), crowd };
    Ok((side, site.instance.app.embedder.pin().to_owned()))
}

async fn measure(args: &Args, load: &Load) -> anyhow::Result<(Seen, Seen, Seen)> {
    let (mut alone, mut beside, mut crowd) = (Seen::default(), Seen::default(), Seen::default());
    let turns = args.seconds.div_ceil(SLICE.as_secs());
    let progress = Progress::new(turns);
    for turn in 0..turns {
        alone.add(load.steady(SLICE).await?);
        let (steady, other) = tokio::join!(load.steady(SLICE), load.crowd(SLICE));
        beside.add(steady?);
        crowd.add(other?);
        progress.at(turn + 1, "alone, and beside the other tenant");
    }
    progress.end();
    Ok((alone, beside, crowd))
}

impl From<Seen> for Steady {
    fn from(seen: Seen) -> Self {
        Self { latency_ms: seen.latencies.percentiles(), errors: seen.failures() }
    }
}

impl Side {
    fn ratio(&self) -> f64 {
        self.beside.latency_ms.p99 / self.alone.latency_ms.p99.max(1e-9)
    }
}

impl Report {
    fn print(&self, args: &Args) {
        self.machine.print();
        let (quota, times) = (args.quota, args.times);
        println!(
            "{} calls/s of a steady tenant; another of quota {quota}/s sends {} calls/s\n",
            args.steady,
            quota * times
        );
        let mut lines = table(["steady tenant"].into_iter().chain(Percentiles::HEADER).chain(["errors"]));
        for side in &self.sides {
            for (what, steady) in [("alone", &side.alone), ("beside", &side.beside)] {
                let cells = steady.latency_ms.cells().into_iter().chain([steady.errors.to_string()]);
                lines.add_row([format!("{}: {what}", side.name)].into_iter().chain(cells));
            }
        }
        println!("{lines}\n");
        for side in &self.sides {
            println!("{}: the other tenant was answered {}", side.name, side.crowd);
        }
        println!();
        report::print_targets(&self.targets);
    }
}

fn targets(sides: &[Side]) -> Vec<Target> {
    let of = |side: &Side| format!("p99 beside over p99 alone, {}", side.name);
    let [with, without] = sides else { return Vec::new() };
    let all = [
        Target::at_most_times(of(with), 1.5, Some(with.ratio())),
        Target::at_least(of(without), None, Some(without.ratio())),
        Target::at_most_times("errors of the steady tenant".to_owned(), 0.0, Some(with.beside.errors as f64)),
        Target::at_least(
            "refusals of the other tenant with Retry-After, of all its 429".to_owned(),
            Some(1.0),
            with.crowd.told_when(),
        ),
    ];
    all.into_iter().flatten().collect()
}
