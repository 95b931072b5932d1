//! `cairn bench overhead`: what measuring costs hits: metrics, the roll-up of usage and the access log, each switched
//! off in turn, on servers of their own over the same memories, by turns.

use std::path::PathBuf;
use std::sync::Arc;

use hyper::body::Bytes;
use serde::Serialize;
use serde_json::json;

use crate::cli::bench::generator::{Address, Bodies, Call, Case, Effort, Target};
use crate::cli::bench::report::{self, Machine, Row};
use crate::cli::bench::site::{Instance, Site};
use crate::cli::bench::words::Vocabulary;
use crate::config::Config;

const ALL: &str = "hit, as it is";
const NOTHING: &str = "hit, without all three";

const AGENT: &str = "bench";
const WORDS: usize = 20;

#[derive(clap::Args)]
#[command(mut_arg("clients", |clients| clients.default_value("1,16")), mut_arg("seconds", |seconds| seconds.default_value("30")))]
pub struct Args {
    /// Memories of the agent that is asked.
    #[arg(long, default_value_t = 1_000)]
    memories: usize,
    /// How many different questions are asked again and again.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    questions: u32,
    #[command(flatten)]
    effort: Effort,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    rows: Vec<Row>,
    targets: Vec<report::Target>,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let report = Site::with(config, async |site| measure(&args, config, site).await).await?;
    report.machine.print();
    report::print_rows(&report.rows);
    report::print_targets(&report.targets);
    report::write(args.json.as_deref(), &report)
}

/// A server without something.
type Without = (&'static str, fn(&mut Config));

const WITHOUT: [Without; 5] = [
    (ALL, |_| {}),
    ("hit, without metrics", |config| config.telemetry.metrics = false),
    ("hit, without roll-up", |config| config.usage.enabled = false),
    ("hit, without access log", |config| config.log.access = false),
    (NOTHING, |config| {
        (config.telemetry.metrics, config.usage.enabled, config.log.access) = (false, false, false);
    }),
];

async fn measure(args: &Args, config: &Config, site: &Site) -> anyhow::Result<Report> {
    fill(args, &site.instance.address(&site.tenant.key)?).await?;
    let mut instances: Vec<Instance> = Vec::new();
    let mut cases: Vec<Case> = Vec::new();
    let bodies = Arc::new(Bodies::questions(&Vocabulary::large(), 0, args.questions as usize, 1.0, "use"));
    for (name, change) in WITHOUT {
        let mut config = config.clone();
        change(&mut config);
        let instance = site.instance_with(config).await?;
        let address = instance.address(&site.tenant.key)?;
        let call = Call::post(&format!("/v1/agents/{AGENT}/recall"), 200)?;
        let mut connection = address.connect().await?;
        for body in bodies.all() {
            connection.call(&call, body.clone()).await?;
        }
        cases.push((name, Target::Http { address, call, bodies: bodies.clone() }));
        instances.push(instance);
    }
    let measured = args.effort.measure(|_| Ok(cases.clone())).await;
    for instance in instances {
        instance.stop().await?;
    }
    let rows = measured?;
    let machine = Machine::this(site.instance.app.embedder.pin());
    Ok(Report { machine, targets: targets(&rows), rows })
}

async fn fill(args: &Args, address: &Address) -> anyhow::Result<()> {
    let vocabulary = Vocabulary::large();
    let mut writer = vocabulary.writer(u64::MAX);
    let call = Call::post(&format!("/v1/agents/{AGENT}/remember/batch"), 200)?;
    let mut connection = address.connect().await?;
    let memories: Vec<_> =
        (0..args.memories).map(|number| json!({"content": format!("{} {number}", writer.text(WORDS))})).collect();
    for batch in memories.chunks(100) {
        connection.call(&call, Bytes::from(json!({"memories": batch}).to_string())).await?;
    }
    Ok(())
}

/// With all of it on, a server does at least nine tenths of what it does without.
fn targets(rows: &[Row]) -> Vec<report::Target> {
    let (few, many) = report::least_and_most(rows);
    let pace = |case, clients| {
        rows.iter().find(|row| row.case == case && row.clients == clients).map(|row| row.calls_per_second)
    };
    let share = |case, clients| Some(pace(case, clients)? / pace(NOTHING, clients)?.max(1e-9));
    let each = [few, many].into_iter().flat_map(|clients| WITHOUT.iter().map(move |(case, _)| (*case, clients)));
    let target = |(case, clients): (&'static str, usize)| {
        let limit = (case == ALL).then_some(0.9);
        let name = format!("{case}, over without all three, calls/s with {clients} client(s)");
        report::Target::at_least(name, limit, share(case, clients))
    };
    each.filter(|(case, _)| *case != NOTHING).filter_map(target).collect()
}
