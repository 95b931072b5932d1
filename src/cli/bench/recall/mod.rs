//! `cairn bench recall`: what a recall costs from the cache and without it. Starts servers of its own in this
//! process over the database and the Redis of the settings, with a tenant of their own, and removes it.

mod caller;
mod cases;
mod http;
mod report;
mod site;
mod slices;

use std::path::PathBuf;

use anyhow::Context;
use tokio::runtime::Handle;

use crate::cli::Database;
use crate::cli::progress::Progress;
use crate::cli::serve::Signals;
use crate::config::Config;
use crate::db;
use crate::redis::Redis;
use cases::{Case, Cases, Size};
use report::{Report, Row, targets};
use site::{Instance, Tenant};
use slices::{Measured, SLICE};

/// Longer than any run, so that no answer expires in the middle of one.
const TTL_SECS: u64 = 86_400;

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
    /// How many clients at the same time, one measurement each.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64", value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: Vec<u16>,
    /// How long each case is measured with each number of clients, in slices by turns.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    // Whoever interrupts it must find no tenant left behind, and no Postgres.
    let mut signals = Signals::listen()?;
    let mut config = config.clone();
    config.cache.recall_ttl_secs = TTL_SECS;
    let database = Database::attach(&config).await?;
    let outcome = with_servers(&args, config, &database, &mut signals).await;
    let closed = database.close().await;
    let report = outcome?;
    closed?;
    report.print();
    match args.json {
        Some(path) => std::fs::write(&path, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("writing {}", path.display())),
        None => Ok(()),
    }
}

async fn with_servers(
    args: &Args,
    config: Config,
    database: &Database,
    signals: &mut Signals,
) -> anyhow::Result<Report> {
    if database.embedded.is_some() {
        db::migrate(&database.options).await?;
    }
    let redis = redis(&config, database)?;
    let instance = Instance::start(config.clone(), database).await?;
    let beside = match redis.is_some() {
        true => Some(Instance::start(without_local_layer(config), database).await?),
        false => None,
    };
    let tenant = Tenant::create(&instance.app).await?;
    let outcome = tokio::select! {
        report = measure(args, &instance, redis.zip(beside.as_ref()), &tenant) => report,
        _ = signals.next() => Err(anyhow::anyhow!("interrupted")),
    };
    let erased = tenant.erase(&instance.app).await;
    if let Some(beside) = beside {
        beside.stop().await?;
    }
    instance.stop().await?;
    let report = outcome?;
    erased.and(Ok(report))
}

/// The Redis of the settings, if there is one.
fn redis(config: &Config, database: &Database) -> anyhow::Result<Option<Redis>> {
    let found = database.embedded.as_ref().and_then(|embedded| embedded.redis_url());
    let url = config.cache.redis_url.as_deref().or(found).filter(|_| config.cache.wants_redis());
    url.map(|url| Redis::open(&config.cache, url, Handle::current())).transpose()
}

/// A second instance, whose every hit comes from Redis. The first one already has its share of the connections that
/// Postgres allows.
fn without_local_layer(mut config: Config) -> Config {
    config.cache.local_mb = 0;
    config.database.write_connections = 1;
    config.database.background_connections = 1;
    config.embeddings.threads = 1;
    config
}

async fn measure(
    args: &Args,
    instance: &Instance,
    redis: Option<(Redis, &Instance)>,
    tenant: &Tenant,
) -> anyhow::Result<Report> {
    let (words, questions) = (usize::from(args.words), args.questions as usize);
    let size = Size { memories: args.memories, words, questions, exponent: args.exponent };
    let cases = Cases::new(size, instance, tenant)?;
    cases.fill().await?;
    let answer_bytes = cases.warm().await?;
    let mut all = cases.of_one_instance()?;
    if let Some((redis, beside)) = redis {
        all.extend(cases.of_redis(redis, beside, answer_bytes).await?);
    }
    let rows = by_turns(args, &cases, &all).await?;
    Ok(Report {
        build: if cfg!(debug_assertions) { "debug" } else { "release" },
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        embedding_model: instance.app.embedder.pin().to_owned(),
        memories: args.memories,
        words: args.words,
        questions,
        exponent: args.exponent,
        answer_bytes,
        targets: targets(&rows),
        rows,
    })
}

/// All cases in turn, a slice each, again and again; the same with each number of clients.
async fn by_turns(args: &Args, cases: &Cases<'_>, all: &[Case]) -> anyhow::Result<Vec<Row>> {
    let turns = (args.seconds * 1_000 / SLICE.as_millis() as u64).max(1);
    let progress = Progress::new(turns * args.clients.len() as u64);
    let mut rows: Vec<Vec<Row>> = Vec::new();
    for (number, &clients) in args.clients.iter().enumerate() {
        let all: Vec<Case> = all.iter().cloned().chain([cases.from_cold(number as u64)]).collect();
        let mut measured: Vec<Measured> = all.iter().map(|_| Measured::default()).collect();
        for turn in 0..turns {
            for ((name, target), measured) in all.iter().zip(&mut measured) {
                let slice = slices::run(target.clone(), usize::from(clients), turn * 1_000).await;
                measured.add(slice.with_context(|| (*name).to_owned())?);
            }
            progress.at(number as u64 * turns + turn + 1, &format!("{clients} client(s)"));
        }
        let row = |((name, _), measured): (&Case, &Measured)| Row::of(name, usize::from(clients), measured);
        rows.push(all.iter().zip(&measured).map(row).collect());
    }
    progress.end();
    Ok(by_case(rows))
}

/// From measurement by measurement to case by case.
fn by_case(rows: Vec<Vec<Row>>) -> Vec<Row> {
    let mut measurements: Vec<_> = rows.into_iter().map(Vec::into_iter).collect();
    let mut sorted = Vec::new();
    while let Some(first) = measurements.first_mut().and_then(Iterator::next) {
        sorted.push(first);
        sorted.extend(measurements.iter_mut().skip(1).filter_map(Iterator::next));
    }
    sorted
}
