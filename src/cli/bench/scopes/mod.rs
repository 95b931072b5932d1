//! `cairn bench scopes`: what the index of a large scope misses, saves and costs, beside comparing every memory.

mod clusters;
mod fill;
mod trial;

use std::path::PathBuf;
use std::time::Instant;

use pgvector::HalfVector;
use serde::Serialize;
use sqlx::PgConnection;

use crate::cli::bench::report::{self, Machine};
use crate::cli::bench::site::Site;
use crate::cli::bench::table;
use crate::cli::bench::tables::vacuum;
use crate::config::Config;
use crate::memories::halved;
use crate::recall::{LargeScope, Vectors, scope_indexes as indexes};
use clusters::Clusters;
use trial::{FILTERS, Row};

#[derive(clap::Args)]
pub struct Args {
    /// How many vectors a scope has, one measurement each.
    #[arg(long, value_delimiter = ',', default_value = "1000,20000,200000")]
    sizes: Vec<usize>,
    #[arg(long, default_value_t = 384, value_parser = clap::value_parser!(u16).range(2..=4000))]
    dims: u16,
    /// How many questions are asked with each filter.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    questions: u16,
    /// Write the figures to this file, anew after each size.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    dims: u16,
    indexes: Vec<Built>,
    rows: Vec<Row>,
}

/// What an index costs.
#[derive(Serialize)]
struct Built {
    vectors: usize,
    seconds: f64,
    index_mb: f64,
    /// The table and the index that exact searches read.
    table_mb: f64,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let mut config = config.clone();
    // The slow way is to be measured to its end, and no job is to drop what is measured.
    config.database.read_timeout_ms = 60_000;
    config.jobs.enabled = false;
    Site::with(&config, async |site| measure(&args, site).await).await
}

/// Printed before the tenant is erased, which takes as long as filling it did.
async fn measure(args: &Args, site: &Site) -> anyhow::Result<()> {
    let machine = Machine::this(site.instance.app.embedder.pin());
    let mut report = Report { machine, dims: args.dims, indexes: Vec::new(), rows: Vec::new() };
    for size in &args.sizes {
        eprintln!("{size} vectors");
        let clusters = Clusters::new(*size, usize::from(args.dims));
        let questions = clusters.vectors(99).take(usize::from(args.questions)).map(|one| halved(&one));
        let questions: Vec<HalfVector> = questions.collect();
        let mut owner = site.instance.app.db.owner("cairn bench").await?;
        let vectors = fill::scope(&mut owner, site.tenant.id, &clusters, *size).await?;
        vacuum(site).await?;
        compare(site, &vectors, &questions, *size, &mut report).await?;
        report::write(args.json.as_deref(), &report)?;
    }
    report.print();
    Ok(())
}

/// First without the index, which then is built and dropped again.
async fn compare(
    site: &Site,
    vectors: &Vectors,
    questions: &[HalfVector],
    size: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let app = &site.instance.app;
    let mut exact = Vec::new();
    for (_, filter) in FILTERS {
        exact.push(trial::ask(app, vectors, filter, questions).await?);
    }
    report.indexes.push(build(site, vectors, size).await?);
    for ((percent, filter), exact) in FILTERS.into_iter().zip(exact) {
        let indexed = trial::ask(app, vectors, filter, questions).await?;
        report.rows.push(indexed.beside(&exact, size, percent));
    }
    let mut owner = app.db.owner("cairn bench").await?;
    Ok(indexes::drop_index(&mut owner, &indexes::index_name(vectors)).await?)
}

async fn build(site: &Site, vectors: &Vectors, size: usize) -> anyhow::Result<Built> {
    let app = &site.instance.app;
    let mut owner = app.db.owner("cairn bench").await?;
    let scope = LargeScope { vectors: *vectors, placements: size as u64, recalls: 0 };
    let mut tx = app.db.write_beside(vectors.tenant).await?;
    indexes::announce(&mut tx, &scope).await?;
    tx.commit(&[]).await?;
    let started = Instant::now();
    eprintln!("building the index");
    indexes::build(&mut owner, vectors, app.config.recall.scope_index_build_mb).await?;
    let seconds = started.elapsed().as_secs_f64();
    let mut tx = app.db.write_beside(vectors.tenant).await?;
    indexes::mark_ready(&mut tx, vectors).await?;
    tx.commit(&[]).await?;
    let (index_mb, table_mb) = sizes(&mut owner, vectors).await?;
    Ok(Built { vectors: size, seconds, index_mb, table_mb })
}

async fn sizes(owner: &mut PgConnection, vectors: &Vectors) -> anyhow::Result<(f64, f64)> {
    let sizes: (i64, i64) = sqlx::query_as(
        "SELECT pg_relation_size(to_regclass($1)),
                pg_relation_size('placements') + pg_relation_size('placements_scope_idx')",
    )
    .bind(indexes::index_name(vectors))
    .fetch_one(owner)
    .await?;
    Ok((sizes.0 as f64 / 1e6, sizes.1 as f64 / 1e6))
}

impl Report {
    fn print(&self) {
        self.machine.print();
        println!("{} dims; vectors in topics, made up\n", self.dims);
        let mut lines = table(["vectors", "index built in s", "index MB", "table and covering index MB"]);
        for built in &self.indexes {
            let numbers = [built.seconds, built.index_mb, built.table_mb].map(|number| format!("{number:.1}"));
            lines.add_row([built.vectors.to_string()].into_iter().chain(numbers));
        }
        println!("{lines}\n");
        let ms = ["exact p50 ms", "p95", "p99", "indexed p50 ms", "p95", "p99"];
        let header = ["vectors", "filter", "recall@10", "fewest rows", "by index"];
        let mut lines = table(header.into_iter().chain(ms));
        for row in &self.rows {
            let facts = [
                row.vectors.to_string(),
                format!("{} %", row.filter_percent),
                format!("{:.3}", row.recall_at_10),
                format!("{} of {}", row.fewest, row.wanted),
                format!("{} of {}", row.by_index, row.questions),
            ];
            let times = [row.exact_ms, row.indexed_ms].into_iter().flat_map(|ms| [ms.p50, ms.p95, ms.p99]);
            lines.add_row(facts.into_iter().chain(times.map(|ms| format!("{ms:.2}"))));
        }
        println!("{lines}");
    }
}
