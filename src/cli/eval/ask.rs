//! Questions put to the server, in one mode and by some of the rules.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::cli::answers::{self, Mode, Recalled};
use crate::cli::client::Client;
use crate::cli::eval::data::Question;
use crate::cli::eval::score::Scored;
use crate::cli::latency::Latencies;
use crate::cli::progress::Progress;
use crate::recall::Explaining;

const AT_ONCE: usize = 2;

/// How to ask.
pub struct Manner<'a> {
    /// What the agents that hold the memories begin with.
    pub agents: &'a str,
    pub mode: Mode,
    pub explain: Explaining,
    /// How many results.
    pub depth: usize,
    /// For people: what is asked.
    pub name: &'a str,
}

/// All answers of one mode.
pub struct Asked {
    pub scored: Vec<Scored>,
    pub latencies: Latencies,
    pub took: Duration,
    /// Warnings by code, and how many answers had them.
    pub warnings: BTreeMap<String, u64>,
}

/// Asks all of them.
pub async fn ask(client: &Client, questions: &[Question], manner: &Manner<'_>) -> anyhow::Result<Asked> {
    let (progress, count) = (Progress::new(questions.len() as u64), AtomicU64::new(0));
    let started = Instant::now();
    let calls = stream::iter(questions.iter().map(|question| {
        let (progress, count) = (&progress, &count);
        async move {
            let asked = one(client, question, manner).await;
            let done = count.fetch_add(1, Ordering::Relaxed) + 1;
            progress.at(done, &format!("{}: {done} questions", manner.name));
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
    manner: &Manner<'_>,
) -> anyhow::Result<(Scored, Duration, Vec<String>)> {
    let path = format!("/v1/agents/{}{}/recall", manner.agents, question.conversation);
    let body = answers::Question {
        query: &question.question,
        k: manner.depth,
        mode: Some(manner.mode),
        explain: &manner.explain,
        cache: "bypass",
    };
    let reply =
        client.post_patiently(&path, &body).await.with_context(|| format!("asking question {}", question.id))?;
    let answer: Recalled = reply.json()?;
    let keys: Vec<String> = answer.results.into_iter().map(|found| found.memory.key.unwrap_or_default()).collect();
    let scored = Scored::new(question.id.clone(), question.category.clone(), &question.evidence, &keys);
    Ok((scored, reply.took(), answer.warnings.into_iter().map(|warning| warning.code).collect()))
}
