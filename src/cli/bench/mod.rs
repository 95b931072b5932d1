//! `cairn bench`: how fast things are on this machine. Texts are made up, the same in every run.

mod circles;
mod curve;
mod embed;
mod embed_cache;
mod fairness;
mod generator;
mod grow;
mod ingest;
mod load;
mod memories;
mod overhead;
mod recall;
mod report;
mod scopes;
mod site;
mod tables;
mod warmups;
mod words;
mod zipf;

use clap::Subcommand;
use comfy_table::{CellAlignment, Table, presets};

use crate::config::Config;

#[derive(Subcommand)]
pub enum Verb {
    /// Embed in this process with the embedder of the settings; needs no server.
    Embed(embed::Args),
    /// What an embedding costs by where it comes from, and which texts stay cached; starts servers of its own.
    EmbedCache(embed_cache::Args),
    /// Remember and recall on a running server; best one with the hashed embedder.
    Memories(memories::Args),
    /// What a recall costs from the cache, without it, and compared with its parts; starts servers of its own.
    Recall(recall::Args),
    /// What remembering costs, alone and together, and what a memory takes; starts servers of its own.
    Ingest(ingest::Args),
    /// What recalls, remembering and memories cost as they become more; starts servers of its own.
    Curve(curve::Args),
    /// What many circles cost compared with one, and a circle of many members; starts servers of its own.
    Circles(circles::Args),
    /// What metrics, the roll-up of usage and the access log cost hits; starts servers of its own.
    Overhead(overhead::Args),
    /// How many recalls hit while memories change, with and without warm-ups; starts a server of its own.
    Warmups(warmups::Args),
    /// What a steady tenant sees of one far over its quota, with limits and without; starts servers of its own.
    Fairness(fairness::Args),
    /// What the index of a large scope misses and saves, beside comparing every memory; starts servers of its own.
    Scopes(scopes::Args),
}

pub async fn run(verb: Verb, config: &Config) -> anyhow::Result<()> {
    match verb {
        Verb::Embed(args) => embed::run(&args, config).await,
        Verb::EmbedCache(args) => embed_cache::run(args, config).await,
        Verb::Memories(args) => memories::run(args, config).await,
        Verb::Recall(args) => recall::run(args, config).await,
        Verb::Ingest(args) => ingest::run(args, config).await,
        Verb::Curve(args) => curve::run(args, config).await,
        Verb::Circles(args) => circles::run(args, config).await,
        Verb::Overhead(args) => overhead::run(args, config).await,
        Verb::Warmups(args) => warmups::run(args, config).await,
        Verb::Fairness(args) => fairness::run(args, config).await,
        Verb::Scopes(args) => scopes::run(args, config).await,
    }
}

/// Numbers stand at the right, names at the left.
fn table<T: Into<String>>(header: impl IntoIterator<Item = T>) -> Table {
    let header: Vec<String> = header.into_iter().map(Into::into).collect();
    let columns = header.len();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for index in 1..columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
