//! `cairn bench embed-cache`: what an embedding costs inside the server by where it comes from, and which texts the
//! local layer keeps when it is full.

mod hit_rates;
mod policies;
mod sequences;

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::cache::{Happening, Kind, Layer};
use crate::cli::bench::generator::{Case, Effort, Target as Called, Texts};
use crate::cli::bench::report::{self, Machine, Row, Target};
use crate::cli::bench::site::{Instance, Site};
use crate::cli::bench::words::Vocabulary;
use crate::config::Config;
use hit_rates::HitRates;

const HIT_LOCAL: &str = "embedding: hit, local";
const HIT_REDIS: &str = "embedding: hit, Redis";
const MISS: &str = "embedding: miss";

#[derive(clap::Args)]
pub struct Args {
    /// How many different texts are embedded again and again.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..))]
    texts: u16,
    /// Words a text.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=2000))]
    words: u16,
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
    targets: Vec<Target>,
    /// As the cache itself counts them.
    hits_local: u64,
    hits_redis: u64,
    hit_rates: HitRates,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let report = Site::with(config, async |site| measure(&args, site).await).await?;
    report.machine.print();
    println!("texts of {} words\n", args.words);
    report::print_rows(&report.rows);
    report::print_targets(&report.targets);
    report.hit_rates.print();
    report::write(args.json.as_deref(), &report)
}

async fn measure(args: &Args, site: &Site) -> anyhow::Result<Report> {
    let cases = cases(args, site).await?;
    let rows = args.effort.measure(|_| Ok(cases.clone())).await?;
    Ok(Report {
        machine: Machine::this(site.instance.app.embedder.pin()),
        targets: targets(&rows),
        rows,
        hits_local: hits(site, Some(&site.instance), Layer::Local),
        hits_redis: hits(site, site.beside.as_ref(), Layer::Redis),
        hit_rates: hit_rates::measure(site).await?,
    })
}

async fn cases(args: &Args, site: &Site) -> anyhow::Result<Vec<Case>> {
    let (owner, vocabulary) = (site.owner().await?, Arc::new(Vocabulary::english()));
    let words = usize::from(args.words);
    let known: Vec<String> = (0..args.texts).map(|number| vocabulary.writer(number.into()).text(words)).collect();
    for text in &known {
        site.instance.app.embedder.embed_query(&owner, text).await?;
    }
    let (known, new) = (Arc::new(Texts::Known(known)), Arc::new(Texts::new(vocabulary, words)));
    let case = |instance: &Instance, texts: &Arc<Texts>| Called::Embedder {
        app: instance.app.clone(),
        owner,
        texts: texts.clone(),
    };
    let redis = site.beside.as_ref().map(|beside| (HIT_REDIS, case(beside, &known)));
    let here = [(HIT_LOCAL, case(&site.instance, &known)), (MISS, case(&site.instance, &new))];
    Ok(here.into_iter().chain(redis).collect())
}

fn targets(rows: &[Row]) -> Vec<Target> {
    let (few, _) = report::least_and_most(rows);
    let limits = [("hit, local layer", HIT_LOCAL, 0.05), ("hit, Redis", HIT_REDIS, 0.5)];
    let target = |(name, case, limit)| {
        Target::at_most(format!("{name}, p50 with {few} client(s)"), limit, report::median(rows, case, few))
    };
    limits.into_iter().filter_map(target).collect()
}

fn hits(site: &Site, instance: Option<&Instance>, layer: Layer) -> u64 {
    let stats = instance.map(|instance| instance.app.cache.stats().of(site.tenant.id).0);
    stats.map_or(0, |stats| stats.happened(Kind::Embedding, layer, Happening::Hit))
}
