//! `cairn recall`: what an agent would recall, for the eyes of a person.

use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets};
use console::{Term, measure_text_width, truncate_str};

use crate::cli::answers::{Explain, Found, Mode, Question, Recalled};
use crate::cli::client::{Client, Connection};
use crate::config::Config;
use crate::error::Error;
use crate::ids::ExternalId;
use crate::recall::Explaining;

/// However narrow the terminal, this much of a memory is shown.
const LEAST_CONTENT: usize = 24;
const MAX_SPEAKER: usize = 20;

#[derive(clap::Args)]
pub struct Args {
    /// What to look for.
    query: String,
    /// The agent that recalls.
    #[arg(long, value_name = "ID")]
    agent: String,
    /// How many results at most.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
    k: u16,
    /// How to search; the server's default is hybrid.
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Show how each score came about.
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let agent = ExternalId::parse(&args.agent).map_err(Error::from).context("--agent")?;
    let client = Client::new(&args.connection, config)?;
    let explain = Explaining::Plain(args.explain);
    let body =
        Question { query: &args.query, k: usize::from(args.k), mode: args.mode, explain: &explain, cache: "use" };
    let answer: Recalled = client.post(&format!("/v1/agents/{agent}/recall"), &body).await?.json()?;
    for warning in &answer.warnings {
        eprintln!("warning: {}", warning.detail);
    }
    if answer.results.is_empty() {
        eprintln!("nothing matches");
        return Ok(());
    }
    // Without a terminal nothing is cut.
    let width = Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
    println!("{}", table(&answer.results, args.explain, width));
    Ok(())
}

fn table(results: &[Found], explain: bool, width: Option<usize>) -> Table {
    let mut rows: Vec<Vec<String>> = vec![header(explain)];
    rows.extend(results.iter().map(|found| row(found, explain)));
    if let Some(width) = width {
        // Every column has a blank on both sides.
        let others: usize = (0..rows[0].len() - 1).map(|column| widest(&rows, column) + 2).sum();
        let room = width.saturating_sub(others + 2).max(LEAST_CONTENT);
        for content in rows.iter_mut().filter_map(|row| row.last_mut()) {
            *content = truncate_str(content, room, "…").into_owned();
        }
    }
    let mut rows = rows.into_iter();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(rows.next().unwrap_or_default()).add_rows(rows);
    if let Some(score) = table.column_mut(0) {
        score.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The columns that explain a score.
const PARTS: [&str; 7] = ["semantic", "lexical", "speaker", "date", "thread", "recency", "importance"];

fn header(explain: bool) -> Vec<String> {
    let parts: &[&str] = if explain { &PARTS } else { &[] };
    let names = ["score", "date", "speaker", "via"].into_iter().chain(parts.iter().copied());
    names.chain(["content"]).map(str::to_owned).collect()
}

fn row(found: &Found, explain: bool) -> Vec<String> {
    let memory = &found.memory;
    let date = memory.occurred_at.as_ref().unwrap_or(&memory.created_at);
    let via = if found.via.kind == "agent" { "own".to_owned() } else { format!("circle {}", found.via.id) };
    let mut row = vec![
        format!("{:.3}", found.score),
        date.chars().take(10).collect(),
        truncate_str(&printable(memory.speaker.as_deref().unwrap_or_default()), MAX_SPEAKER, "…").into_owned(),
        via,
    ];
    match &found.explain {
        Some(parts) if explain => row.extend(explained(parts)),
        _ if explain => row.extend(std::iter::repeat_n(String::new(), PARTS.len())),
        _ => {}
    }
    row.push(printable(&memory.content));
    row
}

/// Each part, and in brackets the place it alone would give.
fn explained(parts: &Explain) -> [String; PARTS.len()] {
    let part = |value: Option<f64>, rank: Option<u64>| match (value, rank) {
        (Some(value), Some(rank)) => format!("{value:.3} ({rank})"),
        (Some(value), None) => format!("{value:.3}"),
        (None, _) => "-".into(),
    };
    [
        part(parts.semantic, parts.rank_semantic),
        part(parts.lexical, parts.rank_lexical),
        part(parts.speaker, None),
        part(parts.date, None),
        part(parts.thread, None),
        format!("{:.3}", parts.recency),
        format!("{:.2}", parts.importance),
    ]
}

/// One line, and nothing that a terminal would obey.
fn printable(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

fn widest(rows: &[Vec<String>], column: usize) -> usize {
    rows.iter().map(|row| measure_text_width(&row[column])).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::answers::{Memory, Via};

    fn found(content: &str) -> Found {
        let memory = Memory {
            content: content.into(),
            key: None,
            speaker: Some("Ada".into()),
            occurred_at: None,
            created_at: "2026-01-31T12:00:00Z".into(),
        };
        Found { memory, score: 0.5, via: Via { kind: "agent".into(), id: "ada".into() }, explain: None }
    }

    #[test]
    fn long_contents_are_cut_to_the_terminal() {
        let results = [found(&"kettle ".repeat(50)), found("short\nlines \u{1b}[31mred")];
        let shown = table(&results, false, Some(80)).to_string();
        assert!(shown.lines().all(|line| measure_text_width(line) <= 80), "{shown}");
        assert!(shown.contains("short lines [31mred"), "{shown}");
        let whole = table(&results, false, None).to_string();
        assert!(whole.lines().any(|line| line.len() > 350), "{whole}");
    }
}
