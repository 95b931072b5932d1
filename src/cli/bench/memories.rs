//! `cairn bench memories`: fill a running server, then remember and recall with ever more clients.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::Serialize;
use serde_json::json;

use crate::cli::answers::Question;
use crate::cli::bench::load::{self, Calls, Load};
use crate::cli::bench::words::Vocabulary;
use crate::cli::bench::{grow, table};
use crate::cli::client::{Client, Connection};
use crate::cli::latency::{Latencies, Percentiles};
use crate::cli::progress::Progress;
use crate::config::Config;
use crate::recall::Explaining;

const BATCH: u64 = 100;
const QUESTION_WORDS: usize = 8;

#[derive(clap::Args)]
pub struct Args {
    /// Memories to begin with, over all agents.
    #[arg(long, default_value_t = 10_000)]
    memories: u64,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    agents: u64,
    /// Words a memory.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=2000))]
    words: u16,
    /// How many clients at the same time, one measurement each.
    #[arg(long, value_delimiter = ',', default_value = "1,16", value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: Vec<u16>,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Instead of all that: remember so many, one after the other, in one agent.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(10..))]
    grow: Option<u64>,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Report {
    url: String,
    agents: Vec<String>,
    memories: u64,
    words: u16,
    fill: Option<Fill>,
    loads: Vec<Load>,
    grow: Vec<grow::Tenth>,
}

#[derive(Serialize)]
struct Fill {
    seconds: f64,
    memories_per_second: f64,
    batch_ms: Percentiles,
}

struct Bench {
    client: Client,
    vocabulary: Arc<Vocabulary>,
    agents: Vec<String>,
    words: usize,
    seconds: u64,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let bench = Bench {
        client: Client::new(&args.connection, config)?,
        vocabulary: Arc::new(Vocabulary::large()),
        agents: (1..=args.agents).map(|number| format!("bench-{run}-{number}")).collect(),
        words: usize::from(args.words),
        seconds: args.seconds,
    };
    let mut report = Report {
        url: bench.client.url().to_owned(),
        agents: bench.agents.clone(),
        memories: args.grow.unwrap_or(args.memories),
        words: args.words,
        fill: None,
        loads: Vec::new(),
        grow: Vec::new(),
    };
    println!("agents {} and so on, {} words a memory; the client shares this machine", bench.agents[0], args.words);
    if let Some(count) = args.grow {
        report.grow =
            grow::run(&bench.client, &bench.agents[0], count, bench.words, bench.vocabulary.writer(1)).await?;
    } else {
        report.fill = Some(bench.fill(args.memories).await?);
        report.loads = bench.loads(&args.clients).await?;
    }
    if let Some(path) = args.json {
        let json = serde_json::to_vec_pretty(&report)?;
        std::fs::write(&path, json).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

impl Bench {
    /// Batches one after the other, over the agents in turn.
    async fn fill(&self, memories: u64) -> anyhow::Result<Fill> {
        let (progress, mut writer, mut latencies) =
            (Progress::new(memories), self.vocabulary.writer(1), Latencies::default());
        let started = Instant::now();
        let mut done = 0;
        for agent in self.agents.iter().cycle() {
            if done >= memories {
                break;
            }
            let texts =
                (done..memories.min(done + BATCH)).map(|number| format!("{} {number}", writer.text(self.words)));
            let batch: Vec<_> = texts.map(|content| json!({"content": content})).collect();
            done += batch.len() as u64;
            let path = format!("/v1/agents/{agent}/remember/batch");
            let reply = self.client.post(&path, &json!({"memories": batch})).await?;
            latencies.add(reply.took());
            progress.at(done, &format!("{done} memories"));
        }
        progress.end();
        let seconds = started.elapsed().as_secs_f64();
        let fill = Fill { seconds, memories_per_second: memories as f64 / seconds, batch_ms: latencies.percentiles() };
        println!(
            "filled {memories} memories in {seconds:.1} s: {:.0}/s; a batch of {BATCH}: p50 {:.1} ms, p95 {:.1} ms\n",
            fill.memories_per_second, fill.batch_ms.p50, fill.batch_ms.p95
        );
        Ok(fill)
    }

    /// Recall before remember, so that every recall meets the memories asked for and few more.
    async fn loads(&self, clients: &[u16]) -> anyhow::Result<Vec<Load>> {
        let mut loads = Vec::new();
        for &count in clients {
            let recall = (0..count).map(|number| self.recalls(number, count)).collect();
            loads.push(load::run(&self.client, "recall", recall, self.seconds).await?);
        }
        for &count in clients {
            let remember = (0..count).map(|number| self.remembers(number, count)).collect();
            loads.push(load::run(&self.client, "remember", remember, self.seconds).await?);
        }
        print(&loads);
        Ok(loads)
    }

    fn agent(&self, number: u16) -> String {
        self.agents[usize::from(number) % self.agents.len()].clone()
    }

    fn recalls(&self, number: u16, of: u16) -> Calls {
        let path = format!("/v1/agents/{}/recall", self.agent(number));
        let (vocabulary, mut seed) = (self.vocabulary.clone(), 1_000_000 * (1_000 * u64::from(of) + u64::from(number)));
        Box::new(move || {
            seed += 1;
            let query = vocabulary.writer(seed).text(QUESTION_WORDS);
            let question =
                Question { query: &query, k: 10, mode: None, explain: &Explaining::Plain(false), cache: "bypass" };
            (path.clone(), json!(question))
        })
    }

    fn remembers(&self, number: u16, of: u16) -> Calls {
        let path = format!("/v1/agents/{}/remember", self.agent(number));
        let (vocabulary, words, mut count) = (self.vocabulary.clone(), self.words, 0_u64);
        Box::new(move || {
            count += 1;
            let text = vocabulary.writer(2_000_000_000 + 1_000_000 * u64::from(number) + count).text(words);
            (path.clone(), json!({"content": format!("{text} {count} {number} of {of}")}))
        })
    }
}

fn print(loads: &[Load]) {
    let header = ["", "clients"].into_iter().chain(Percentiles::HEADER).chain(["calls/s"]);
    let mut calls = table(header);
    let mut stages = table(["recall, by stage", "clients"].into_iter().chain(Percentiles::HEADER));
    for load in loads {
        let numbers = load.latency_ms.cells().into_iter().chain([format!("{:.0}", load.calls_per_second)]);
        calls.add_row([load.action.to_owned(), load.clients.to_string()].into_iter().chain(numbers));
        for (name, stage) in load.stages_ms.iter().filter(|_| load.action == "recall") {
            stages.add_row([name.clone(), load.clients.to_string()].into_iter().chain(stage.cells()));
        }
    }
    println!("{calls}\n\n{stages}");
}
