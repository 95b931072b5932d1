//! `cairn eval`: how well a running server recalls, on questions whose evidence is known. Every
//! conversation is an agent of its own; category, answer and evidence never leave this process.

mod ask;
mod data;
mod report;
mod score;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::tz::TimeZone;
use strum::IntoEnumIterator;

use crate::cli::answers::Mode;
use crate::cli::client::{Client, Connection};
use crate::cli::import::{Agents, Form, Job, import};
use crate::config::Config;
use crate::recall::{Explaining, Rule};
use ask::Manner;
use data::{Memory, Question, Written};
use report::{ModeReport, Report};

/// The agents of an evaluation are told apart from those of real use, and those with bare memories from the others.
const AGENT_PREFIX: &str = "eval-";
const BARE_PREFIX: &str = "eval-bare-";
const CUTOFFS: [usize; 4] = [1, 5, 10, 50];
/// What bare memories do without.
const BARE: &str = "speaker, date and source given";

#[derive(clap::Args)]
pub struct Args {
    /// Memories: JSONL as `cairn import` reads it with conversation, id and text, or a file of LoCoMo or LongMemEval.
    #[arg(long, value_name = "FILE")]
    memories: PathBuf,
    /// Questions: JSONL with conversation, id, question, category, evidence_ids and perhaps scored; or the same
    /// original file, which is the default.
    #[arg(long, value_name = "FILE")]
    questions: Option<PathBuf>,
    /// How to search; may be repeated. Default: all three, or hybrid with --ablate.
    #[arg(long, value_enum)]
    mode: Vec<Mode>,
    /// Ask again without each rule of ranking, and of memories that say nothing of themselves.
    #[arg(long)]
    ablate: bool,
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

/// Whom to ask what, and how far to look.
struct Evaluation {
    client: Client,
    questions: Vec<Question>,
    cutoffs: Vec<usize>,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let client = Client::new(&args.connection, config)?;
    let questions = data::questions(args.questions.as_ref().unwrap_or(&args.memories))?;
    if !args.skip_import {
        remember_all(&client, &args.memories, args.ablate).await?;
    }
    let cutoffs: BTreeSet<usize> = CUTOFFS.into_iter().chain([usize::from(args.k)]).collect();
    let evaluation = Evaluation { client, questions, cutoffs: cutoffs.into_iter().collect() };
    let report = evaluation.run(args.mode, args.ablate).await?;
    if let Some(path) = args.json {
        let json = serde_json::to_vec_pretty(&report)?;
        std::fs::write(&path, json).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

impl Evaluation {
    async fn run(&self, mut modes: Vec<Mode>, ablate: bool) -> anyhow::Result<Report> {
        if modes.is_empty() {
            modes = if ablate { vec![Mode::Hybrid] } else { vec![Mode::Semantic, Mode::Lexical, Mode::Hybrid] };
        }
        modes.sort_unstable();
        modes.dedup();
        let url = self.client.url().to_owned();
        let mut report = Report { url, depth: self.depth(), modes: Vec::new(), without: BTreeMap::new() };
        for mode in modes {
            let answered = self.ask(&self.manner(mode, mode.name())).await?;
            answered.print();
            report.modes.push(answered);
        }
        if ablate && let Some(whole) = report.modes.pop() {
            report.without = self.ablate(whole.mode).await?;
            report.print_ablation(&whole);
            report.modes.push(whole);
        }
        Ok(report)
    }

    async fn ablate(&self, mode: Mode) -> anyhow::Result<BTreeMap<String, ModeReport>> {
        let mut without = BTreeMap::new();
        for rule in Rule::iter() {
            let name: &'static str = rule.into();
            let explain = Explaining::Without { without: BTreeSet::from([rule]) };
            let manner = Manner { explain, ..self.manner(mode, name) };
            without.insert(name.to_owned(), self.ask(&manner).await?);
        }
        let bare = Manner { agents: BARE_PREFIX, ..self.manner(mode, BARE) };
        without.insert(BARE.to_owned(), self.ask(&bare).await?);
        Ok(without)
    }

    fn manner<'a>(&self, mode: Mode, name: &'a str) -> Manner<'a> {
        Manner { agents: AGENT_PREFIX, mode, explain: Explaining::default(), depth: self.depth(), name }
    }

    async fn ask(&self, manner: &Manner<'_>) -> anyhow::Result<ModeReport> {
        let asked = ask::ask(&self.client, &self.questions, manner).await?;
        Ok(ModeReport::new(manner.mode, asked, &self.cutoffs))
    }

    fn depth(&self) -> usize {
        self.cutoffs.last().copied().unwrap_or_default()
    }
}

async fn remember_all(client: &Client, path: &Path, bare_too: bool) -> anyhow::Result<()> {
    let memories = data::memories(path)?;
    remember(client, &memories, AGENT_PREFIX).await?;
    if bare_too {
        remember(client, &data::bare(&memories), BARE_PREFIX).await?;
    }
    Ok(())
}

async fn remember(client: &Client, memories: &[Memory], prefix: &'static str) -> anyhow::Result<()> {
    let written = Written::new(memories)?;
    let agents = Agents::Field { name: "conversation".into(), prefix };
    let form = Form { agents, timezone: TimeZone::UTC };
    let job = Job { file: written.path().to_owned(), form, batch: 100, strict: true, resumable: false };
    let summary = import(client, &job).await?;
    eprintln!("{summary}");
    Ok(())
}
