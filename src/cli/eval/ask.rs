//! Questions from a file, put to the server one mode at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;

use crate::cli::answers::{self, Mode, Recalled};
use crate::cli::client::Client;
use crate::cli::eval::AGENT_PREFIX;
use crate::cli::eval::score::Scored;
use crate::cli::latency::Latencies;
use crate::cli::progress::Progress;

const AT_ONCE: usize = 2;

/// A line of the questions file; other fields (the answer) are not even read.
#[derive(Debug, Deserialize)]
pub struct Question {
    conversation: String,
    id: String,
    question: String,
    category: String,
    #[serde(default)]
    evidence_ids: Vec<String>,
    #[serde(default = "yes")]
    scored: bool,
}

/// All answers of one mode.
pub struct Asked {
    pub scored: Vec<Scored>,
    pub latencies: Latencies,
    pub took: Duration,
    /// Warnings by code, and how many answers had them.
    pub warnings: BTreeMap<String, u64>,
}

fn yes() -> bool {
    true
}

/// The questions that count: those marked so that have evidence.
pub fn read(path: &Path) -> anyhow::Result<Vec<Question>> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut questions = Vec::new();
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let place = || format!("{} line {}", path.display(), index + 1);
        let question: Question = serde_json::from_str(&line).with_context(place)?;
        if question.scored && !question.evidence_ids.is_empty() {
            questions.push(question);
        }
    }
    anyhow::ensure!(!questions.is_empty(), "{}: holds no question to score", path.display());
    Ok(questions)
}

/// Asks all of them, `depth` results each.
pub async fn ask(client: &Client, questions: &[Question], mode: Mode, depth: usize) -> anyhow::Result<Asked> {
    let (progress, count) = (Progress::new(questions.len() as u64), AtomicU64::new(0));
    let started = Instant::now();
    let calls = stream::iter(questions.iter().map(|question| {
        let (progress, count) = (&progress, &count);
        async move {
            let asked = one(client, question, mode, depth).await;
            let done = count.fetch_add(1, Ordering::Relaxed) + 1;
            progress.at(done, &format!("{}: {done} questions", mode.name()));
            asked
        }
    }));
    let answers: Vec<_> = calls.buffered(AT_ONCE).try_collect().await?;
    let took = started.elapsed();
    progress.end();
    let mut asked = Asked { scored: Vec::new(), latencies: Latencies::default(), took, warnings: BTreeMap::new() };
    for (scored, took, warnings) in answers {
        asked.scored.push(scored);
        asked.latencies.add(took);
        warnings.into_iter().for_each(|code| *asked.warnings.entry(code).or_default() += 1);
    }
    Ok(asked)
}

async fn one(
    client: &Client,
    question: &Question,
    mode: Mode,
    depth: usize,
) -> anyhow::Result<(Scored, Duration, Vec<String>)> {
    let path = format!("/v1/agents/{AGENT_PREFIX}{}/recall", question.conversation);
    let body =
        answers::Question { query: &question.question, k: depth, mode: Some(mode), explain: false, cache: "bypass" };
    let reply =
        client.post_patiently(&path, &body).await.with_context(|| format!("asking question {}", question.id))?;
    let answer: Recalled = reply.json()?;
    let keys: Vec<String> = answer.results.into_iter().map(|found| found.memory.key.unwrap_or_default()).collect();
    let scored = Scored::new(question.id.clone(), question.category.clone(), &question.evidence_ids, &keys);
    Ok((scored, reply.took(), answer.warnings.into_iter().map(|warning| warning.code).collect()))
}
