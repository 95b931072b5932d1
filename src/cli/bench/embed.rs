//! `cairn bench embed`: what the embedder of the settings takes for a question, a memory, a batch.

use std::time::{Duration, Instant};

use crate::cache::Owner;
use crate::cli::bench::table;
use crate::cli::bench::words::{Vocabulary, Writer};
use crate::cli::latency::Latencies;
use crate::config::Config;
use crate::embeddings::Embedder;
use crate::ids::TenantId;
use crate::rates::Budget;

const WARM_UP_CALLS: usize = 3;
/// However slow it is, a percentile needs a few calls.
const LEAST_CALLS: usize = 5;

#[derive(clap::Args)]
pub struct Args {
    /// How long to measure each kind of call.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
}

/// A kind of call.
struct Case {
    name: &'static str,
    texts: usize,
    words: usize,
    query: bool,
}

const CASES: [Case; 5] = [
    Case { name: "a query of 6 words", texts: 1, words: 6, query: true },
    Case { name: "a query of 12 words", texts: 1, words: 12, query: true },
    Case { name: "a memory of 200 words", texts: 1, words: 200, query: false },
    Case { name: "128 memories of 12 words", texts: 128, words: 12, query: false },
    Case { name: "128 memories of 30 words", texts: 128, words: 30, query: false },
];

pub async fn run(args: &Args, config: &Config) -> anyhow::Result<()> {
    let started = Instant::now();
    let embedder = Embedder::start(config)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = match config.embeddings.threads {
        0 => "half of the cores, at least one".to_owned(),
        threads => threads.to_string(),
    };
    println!("model {}, ready after {} ms", embedder.pin(), started.elapsed().as_millis());
    println!("threads: {threads}; cores: {cores}; one call at a time");
    if cfg!(debug_assertions) {
        println!("this is a debug build; a release build is faster");
    }
    let vocabulary = Vocabulary::english();
    let mut writer = vocabulary.writer(1);
    let mut table = table(["", "calls", "p50 ms", "p95 ms", "p99 ms", "max ms", "texts/s"]);
    for case in CASES {
        let (latencies, texts_a_second) = measure(&embedder, &case, &mut writer, args.seconds).await?;
        let numbers = latencies.percentiles().cells().into_iter().chain([format!("{texts_a_second:.0}")]);
        table.add_row(std::iter::once(case.name.to_owned()).chain(numbers));
    }
    println!("{table}");
    Ok(())
}

/// Every call has new texts, so that nothing can be remembered from the one before.
async fn measure(
    embedder: &Embedder,
    case: &Case,
    writer: &mut Writer<'_>,
    seconds: u64,
) -> anyhow::Result<(Latencies, f64)> {
    for _ in 0..WARM_UP_CALLS {
        call(embedder, case, writer).await?;
    }
    let (mut latencies, mut calls, mut busy) = (Latencies::default(), 0, Duration::ZERO);
    let started = Instant::now();
    while calls < LEAST_CALLS || started.elapsed() < Duration::from_secs(seconds) {
        let took = call(embedder, case, writer).await?;
        latencies.add(took);
        calls += 1;
        busy += took;
    }
    Ok((latencies, (calls * case.texts) as f64 / busy.as_secs_f64().max(1e-9)))
}

async fn call(embedder: &Embedder, case: &Case, writer: &mut Writer<'_>) -> anyhow::Result<Duration> {
    let mut texts: Vec<String> = (0..case.texts).map(|_| writer.text(case.words)).collect();
    let owner = Owner { tenant: TenantId::new(), secret: None, budget: Budget::default() };
    let started = Instant::now();
    if case.query {
        embedder.embed_query(&owner, &texts.pop().unwrap_or_default()).await?;
    } else {
        embedder.embed_texts(&owner, texts).await?;
    }
    Ok(started.elapsed())
}
