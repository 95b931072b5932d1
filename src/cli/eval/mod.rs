//! `cairn eval`: how well a running server recalls, on questions whose evidence is known. Every
//! conversation is an agent of its own; category, answer and evidence never leave this process.

mod ask;
mod report;
mod score;

use std::path::PathBuf;

use anyhow::Context;
use jiff::tz::TimeZone;

use crate::cli::answers::Mode;
use crate::cli::client::{Client, Connection};
use crate::cli::import::{Agents, Form, Job, import};
use crate::config::Config;
use report::{ModeReport, Report};

/// The agents of an evaluation are told apart from those of real use.
const AGENT_PREFIX: &str = "eval-";
const CUTOFFS: [usize; 4] = [1, 5, 10, 50];

#[derive(clap::Args)]
pub struct Args {
    /// JSONL of memories: conversation, id, text and what else `cairn import` reads.
    #[arg(long, value_name = "FILE")]
    memories: PathBuf,
    /// JSONL of questions: conversation, id, question, category, evidence_ids and perhaps scored.
    #[arg(long, value_name = "FILE")]
    questions: PathBuf,
    /// How to search; may be repeated. Default: all three.
    #[arg(long, value_enum)]
    mode: Vec<Mode>,
    /// A further k for recall@k, beside 1, 5, 10 and 50.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
    k: u16,
    /// Write the report, with the places of every question's evidence, to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The memories are there from an earlier evaluation.
    #[arg(long)]
    skip_import: bool,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let client = Client::new(&args.connection, config)?;
    let questions = ask::read(&args.questions)?;
    if !args.skip_import {
        remember(&client, args.memories).await?;
    }
    let mut cutoffs: Vec<usize> = CUTOFFS.into_iter().chain([usize::from(args.k)]).collect();
    cutoffs.sort_unstable();
    cutoffs.dedup();
    let depth = cutoffs.last().copied().unwrap_or_default();
    let mut report = Report { url: client.url().to_owned(), depth, modes: Vec::new() };
    let mut modes = if args.mode.is_empty() { vec![Mode::Semantic, Mode::Lexical, Mode::Hybrid] } else { args.mode };
    modes.sort_unstable();
    modes.dedup();
    for mode in modes {
        let asked = ask::ask(&client, &questions, mode, depth).await?;
        let answered = ModeReport::new(mode, asked, &cutoffs);
        answered.print();
        report.modes.push(answered);
    }
    if let Some(path) = args.json {
        let json = serde_json::to_vec_pretty(&report)?;
        std::fs::write(&path, json).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

async fn remember(client: &Client, file: PathBuf) -> anyhow::Result<()> {
    let agents = Agents::Field { name: "conversation".into(), prefix: AGENT_PREFIX };
    let form = Form { agents, timezone: TimeZone::UTC };
    let summary = import(client, &Job { file, form, batch: 100, strict: true, resumable: false }).await?;
    eprintln!("{summary}");
    Ok(())
}
