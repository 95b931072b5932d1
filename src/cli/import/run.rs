//! The import itself: read, group, send over a few agents at a time, settle, until the file ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use tokio::task::JoinSet;

use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::import::delivery::{Delivery, deliver};
use crate::cli::import::lines::{Line, Lines, Place};
use crate::cli::import::queue::{Item, Queue};
use crate::cli::import::record::Form;
use crate::cli::import::resume::Resume;
use crate::cli::import::summary::Summary;
use crate::cli::progress::Progress;
use crate::ids::ExternalId;

/// Agents that are written to at the same time.
const IN_FLIGHT: usize = 3;

/// What to import, and how.
pub struct Job {
    pub file: PathBuf,
    pub form: Form,
    pub batch: usize,
    pub strict: bool,
    /// Whether to go on where an earlier run was cut off.
    pub resumable: bool,
}

struct Import<'a> {
    job: &'a Job,
    client: &'a Client,
    lines: Lines,
    queue: Queue,
    resume: Resume,
    summary: Summary,
    progress: Progress,
    on_their_way: JoinSet<(ExternalId, Result<Delivery, Failure>)>,
    /// No line is read any more.
    ended: bool,
    failure: Option<anyhow::Error>,
}

/// Imports the file; lines that cannot be remembered are reported and counted.
pub async fn import(client: &Client, job: &Job) -> anyhow::Result<Summary> {
    let size = std::fs::metadata(&job.file).with_context(|| format!("opening {}", job.file.display()))?.len();
    let resume = if job.resumable {
        let (agents, zone) = (job.form.agents.to_string(), job.form.timezone.iana_name().unwrap_or_default());
        Resume::of(&job.file, &[client.url(), client.key(), &agents, zone])?
    } else {
        Resume::off()
    };
    let start = resume.start();
    let import = Import {
        job,
        client,
        lines: Lines::open(&job.file, start)?,
        queue: Queue::new(job.batch),
        resume,
        summary: Summary::new(start.line - 1),
        progress: Progress::new(size),
        on_their_way: JoinSet::new(),
        ended: false,
        failure: None,
    };
    import.run().await
}

impl Import<'_> {
    async fn run(mut self) -> anyhow::Result<Summary> {
        let interrupted = interrupted();
        loop {
            if interrupted.load(Ordering::Relaxed) {
                self.stop(|| anyhow::anyhow!("interrupted; the same command goes on from here"));
            }
            self.read()?;
            self.send();
            let Some(delivered) = self.on_their_way.join_next().await else { break };
            let (agent, outcome) = delivered.context("a delivery broke off")?;
            self.queue.done(&agent);
            self.settle(outcome);
            self.save(false);
        }
        self.progress.end();
        self.end()
    }

    /// Reads until there is something to send, or no more may wait.
    fn read(&mut self) -> anyhow::Result<()> {
        while !self.ended && !self.queue.has_ready() && !self.queue.is_full() {
            match self.lines.next().with_context(|| format!("reading {}", self.job.file.display()))? {
                Some(line) => self.enqueue(line),
                None => self.ended = true,
            }
        }
        Ok(())
    }

    fn enqueue(&mut self, line: Line) {
        let place = line.place;
        let record = match &line.bytes {
            Some(bytes) => self.job.form.read(bytes),
            None => Err("is too long".into()),
        };
        self.resume.opened(place);
        match record {
            Ok(record) => {
                self.summary.ignore(record.ignored);
                self.summary.was_shared += u64::from(record.was_shared);
                self.queue.push(record.agent, Item { place, key: record.key, json: record.json });
            }
            Err(reason) => self.reject(place, &reason),
        }
    }

    fn send(&mut self) {
        while self.failure.is_none() && self.on_their_way.len() < IN_FLIGHT {
            // Batches that are not full are for the end, and for when too much waits.
            let Some(batch) = self.queue.take(self.ended || self.queue.is_full()) else { break };
            let client = self.client.clone();
            self.on_their_way.spawn(async move { (batch.agent.clone(), deliver(&client, batch).await) });
        }
    }

    fn settle(&mut self, outcome: Result<Delivery, Failure>) {
        match outcome {
            Ok(delivery) => {
                self.summary.add(&delivery);
                delivery.accepted.iter().for_each(|place| self.resume.settled(*place));
                delivery.rejected.iter().for_each(|(place, reason)| self.reject(*place, reason));
            }
            Err(failure) => self.stop(|| failure.into()),
        }
        let done = self.resume.done(self.lines.place());
        self.progress.at(done.byte, &format!("{} memories", self.summary.accepted()));
    }

    fn reject(&mut self, place: Place, reason: &str) {
        self.progress.say(&format!("line {}: {reason}", place.line));
        self.summary.rejected += 1;
        if self.job.strict {
            self.stop(|| anyhow::anyhow!("line {} was rejected", place.line));
        } else {
            self.resume.settled(place);
        }
    }

    /// An import that cannot keep its place is slower to repeat, and no worse.
    fn save(&mut self, now: bool) {
        if let Err(error) = self.resume.save(self.lines.place(), now) {
            self.progress.say(&format!("a rerun would start from the beginning: {error:#}"));
            self.resume.give_up();
        }
    }

    /// Ends after the batches on their way; the first reason is the one that is told.
    fn stop(&mut self, reason: impl FnOnce() -> anyhow::Error) {
        self.ended = true;
        self.failure.get_or_insert_with(reason);
    }

    fn end(mut self) -> anyhow::Result<Summary> {
        self.save(true);
        let summary = self.summary.finished();
        let Some(failure) = self.failure else {
            self.resume.forget();
            return Ok(summary);
        };
        eprintln!("{summary}");
        bail!(failure)
    }
}

/// Becomes true at the first Ctrl-C; the second one ends the process.
fn interrupted() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = flag.clone();
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if raised.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
            eprintln!("ending after the batches on their way; press Ctrl-C again to end now");
        }
    });
    flag
}
