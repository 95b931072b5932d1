//! `cairn bench curve`: what memories cost as they become more, in one tenant, over few agents and over many.

mod fill;
mod plot;
mod point;

use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

use crate::cli::bench::report::{self, Machine};
use crate::cli::bench::site::Site;
use crate::cli::bench::table;
use crate::cli::bench::tables::Tables;
use crate::config::Config;
use fill::Crowd;
use point::Point;

#[derive(clap::Args)]
pub struct Args {
    /// Sizes of the tenant, in ascending order: it grows from one to the next.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
    memories: Vec<u64>,
    /// Over how many agents they are spread, one curve each.
    #[arg(long, value_delimiter = ',', default_value = "1,100", value_parser = clap::value_parser!(u64).range(1..))]
    agents: Vec<u64>,
    /// Words a memory.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=2000))]
    words: u16,
    /// How long each figure is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Write the figures to this file, anew after each point.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw them into this file, anew after each point.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    words: u16,
    points: Vec<Point>,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let mut config = config.clone();
    // Growing past what the settings call a large scope, its index would be built beside what is measured.
    config.jobs.enabled = false;
    // The slow way is to be measured to its end.
    config.database.read_timeout_ms = 60_000;
    let mut report: Option<Report> = None;
    for agents in &args.agents {
        // A site each, which is taken down with its tenant whatever comes of it.
        report = Some(Site::with(&config, async |site| measure(&args, &config, *agents, site, report).await).await?);
    }
    let report = report.context("--agents names no number")?;
    report.print();
    Ok(())
}

/// Adds the points of one curve.
async fn measure(
    args: &Args,
    config: &Config,
    agents: u64,
    site: &Site,
    before: Option<Report>,
) -> anyhow::Result<Report> {
    let machine = Machine::this(site.instance.app.embedder.pin());
    let is_first = before.is_none();
    let mut report = before.unwrap_or_else(|| Report { machine, words: args.words, points: Vec::new() });
    let mut crowd = Crowd::new(site, config, agents, usize::from(args.words)).await?;
    let empty = Tables::measure(site).await?;
    for memories in &args.memories {
        eprintln!("{memories} memories of {agents} agent(s)");
        crowd.grow(site, *memories).await?;
        let grown = Tables::measure(site).await?.since(empty).all();
        let postgres = is_first.then(|| grown as f64 / *memories as f64);
        report.points.push(point::measure(site, &crowd, postgres, args.seconds).await?);
        report::write(args.json.as_deref(), &report)?;
        if let Some(path) = &args.svg {
            plot::draw(path, &report.points)?;
        }
    }
    Ok(report)
}

impl Report {
    fn print(&self) {
        self.machine.print();
        println!("{} words a memory; one client; milliseconds\n", self.words);
        let figures =
            ["hit p50", "computed p50", "p99", "first p50", "remember p50", "p95", "Postgres, bytes a memory"];
        let mut lines = table(["memories", "agents"].into_iter().chain(figures).chain(["way"]));
        for point in &self.points {
            let ms = [point.hit.p50, point.computed.p50, point.computed.p99, point.first.p50];
            let ms = ms.into_iter().chain([point.remember.p50, point.remember.p95]).map(|ms| format!("{ms:.2}"));
            let place = [point.memories.to_string(), point.agents.to_string()];
            let bytes = point.postgres_bytes.map_or_else(String::new, |bytes| format!("{bytes:.0}"));
            let rest = [bytes, point.way.clone()];
            lines.add_row(place.into_iter().chain(ms).chain(rest));
        }
        println!("{lines}");
    }
}
