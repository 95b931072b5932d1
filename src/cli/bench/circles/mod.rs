//! `cairn bench circles`: what recall, the gate and a context cost an agent of many circles, compared with one of a
//! single circle; and how long it takes to fill a circle with members and to delete it.

mod cases;
mod crowd;
mod fill;

use std::path::PathBuf;

use serde::Serialize;

use crate::circles::{MOST_CIRCLES, MOST_MEMBERS};
use crate::cli::bench::generator::Effort;
use crate::cli::bench::report::{self, Machine, Row, Target};
use crate::cli::bench::site::Site;
use crate::config::Config;
use cases::{Cases, Seen};
use crowd::Crowd;

#[derive(clap::Args)]
#[command(mut_arg("clients", |clients| clients.default_value("1,8")))]
pub struct Args {
    /// Circles of the agent that is in many.
    #[arg(long, default_value_t = MOST_CIRCLES as u16, value_parser = clap::value_parser!(u16).range(1..=MOST_CIRCLES as i64))]
    circles: u16,
    /// Memories shared in each circle.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    memories: u32,
    /// Members of the circle that is filled and deleted.
    #[arg(long, default_value_t = MOST_MEMBERS as u16, value_parser = clap::value_parser!(u16).range(1..=MOST_MEMBERS as i64))]
    members: u16,
    /// Words a memory.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=2000))]
    words: u16,
    /// How many different questions are asked again and again.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    questions: u32,
    #[command(flatten)]
    effort: Effort,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How much of everything there is.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Size {
    circles: u16,
    memories: u32,
    members: u16,
    words: usize,
    questions: usize,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    size: Size,
    rows: Vec<Row>,
    crowd: Crowd,
    targets: Vec<Target>,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let report = Site::with(config, async |site| measure(&args, site).await).await?;
    report.print();
    report::write(args.json.as_deref(), &report)
}

async fn measure(args: &Args, site: &Site) -> anyhow::Result<Report> {
    let Args { circles, memories, members, .. } = *args;
    let (words, questions) = (usize::from(args.words), args.questions as usize);
    let size = Size { circles, memories, members, words, questions };
    fill::circles(site, size).await?;
    let cases = Cases::new(site, size)?;
    cases.warm().await?;
    let all = cases.all()?;
    let rows = args.effort.measure(|_| Ok(all.clone())).await?;
    let crowd = Crowd::measure(site, size).await?;
    let machine = Machine::this(site.instance.app.embedder.pin());
    Ok(Report { machine, size, targets: targets(&rows, crowd), rows, crowd })
}

impl Report {
    fn print(&self) {
        let Size { circles, memories, words, questions, .. } = self.size;
        self.machine.print();
        println!("one circle and {circles}, {memories} memories of {words} words in each; {questions} questions\n");
        report::print_rows(&self.rows);
        report::print_targets(&self.targets);
    }
}

fn targets(rows: &[Row], crowd: Crowd) -> Vec<Target> {
    let (few, _) = report::least_and_most(rows);
    let median = |case| report::median(rows, case, few);
    let times = |seen: Seen| Some(median(seen.many)? / median(seen.one)?.max(1e-9));
    let name = |what: &str| format!("{what}, p50 with {few} client(s)");
    let all = [
        Target::at_most_times(name("recall, hit: many circles over one"), 3.0, times(cases::HIT)),
        Target::at_most_times(name("recall, miss: many circles over one"), 3.0, times(cases::MISS)),
        Target::at_most_times(name("recall, computed: many circles over one"), 3.0, times(cases::COMPUTED)),
        Target::at_most(name("gate, many circles"), 1.0, median(cases::GATE.many)),
        Target::at_most(name("context, hit, local layer"), 0.4, median(cases::CONTEXT_HIT)),
        Target::at_most(format!("adding {} members", crowd.members), 5_000.0, Some(crowd.adding_ms)),
        Target::at_most("deleting their circle".to_owned(), 2_000.0, Some(crowd.deleting_ms)),
    ];
    all.into_iter().flatten().collect()
}
