//! What is measured: recalls by where their answers come from, and the parts that every one of them is made of.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use serde::Serialize;
use serde_json::json;

use crate::auth;
use crate::cli::bench::generator::{Address, Bodies, Call, Case, Target};
use crate::cli::bench::site::Site;
use crate::cli::bench::words::Vocabulary;
use crate::cli::latency::{Latencies, Percentiles};
use crate::cli::progress::Progress;
use crate::error::Error;
use crate::ids::ExternalId;

pub const LIVEZ: &str = "/livez";
pub const GATE: &str = "gate, in process";
const GATE_HTTP: &str = "gate, over HTTP";
const REDIS_GET: &str = "Redis GET";
pub const HIT_LOCAL: &str = "recall: hit, local";
pub const HIT_REDIS: &str = "recall: hit, Redis";
pub const MISS_EMBEDDED: &str = "recall: miss, embedded";
pub const MISS: &str = "recall: miss";
const FROM_COLD: &str = "recall: from cold";

const AGENT: &str = "bench";
const FIRST_ANSWERS: usize = 20;
const HEARD: Duration = Duration::from_millis(300);
const BATCH: u64 = 100;
/// Questions are numbered, so that those of one case are never those of another.
const NEW: u64 = 1 << 32;
const COLD: u64 = 2 << 32;

/// How many memories and questions there are.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Size {
    pub memories: u64,
    pub words: usize,
    pub questions: usize,
    pub exponent: f64,
}

/// What the cases have in common.
pub struct Cases<'a> {
    size: Size,
    site: &'a Site,
    vocabulary: Arc<Vocabulary>,
    address: Address,
    recall: Call,
    /// Asked again and again; once `warm`, the answers are cached.
    known: Arc<Bodies>,
}

impl<'a> Cases<'a> {
    pub fn new(size: Size, site: &'a Site) -> anyhow::Result<Self> {
        let vocabulary = Arc::new(Vocabulary::large());
        Ok(Self {
            address: site.instance.address(&site.tenant.key)?,
            recall: Call::post(&format!("/v1/agents/{AGENT}/recall"), 200)?,
            known: Arc::new(Bodies::questions(&vocabulary, 0, size.questions, size.exponent, "use")),
            size,
            site,
            vocabulary,
        })
    }

    /// Remembers all there is to recall, batch after batch.
    pub async fn fill(&self) -> anyhow::Result<()> {
        let (progress, mut writer) = (Progress::new(self.size.memories), self.vocabulary.writer(u64::MAX));
        let call = Call::post(&format!("/v1/agents/{AGENT}/remember/batch"), 200)?;
        let mut connection = self.address.connect().await?;
        for first in (0..self.size.memories).step_by(BATCH as usize) {
            let end = self.size.memories.min(first + BATCH);
            // The number makes each a memory of its own.
            let texts = (first..end).map(|number| format!("{} {number}", writer.text(self.size.words)));
            let memories: Vec<_> = texts.map(|content| json!({"content": content})).collect();
            connection.call(&call, Bytes::from(json!({"memories": memories}).to_string())).await?;
            progress.at(end, &format!("{end} memories"));
        }
        progress.end();
        Ok(())
    }

    /// Asks every known question once; the bytes of an answer, on average.
    pub async fn warm(&self) -> anyhow::Result<usize> {
        let progress = Progress::new(self.size.questions as u64);
        let mut connection = self.address.connect().await?;
        let mut bytes = 0;
        for (number, body) in self.known.all().iter().enumerate() {
            let (_, answer) = connection.call(&self.recall, body.clone()).await?;
            bytes += answer.len();
            progress.at(number as u64 + 1, &format!("{} questions asked once", number + 1));
        }
        progress.end();
        Ok(bytes / self.size.questions.max(1))
    }

    /// An answer when nothing of the agent is in memory, to a question that is embedded: as often as it takes to tell.
    pub async fn first(&self) -> anyhow::Result<Percentiles> {
        let flush = Call::post("/v1/cache/flush", 200)?;
        let mut connection = self.address.connect().await?;
        let mut latencies = Latencies::default();
        for body in self.known.all().iter().take(FIRST_ANSWERS) {
            connection.call(&flush, r#"{"kinds": ["recall"]}"#.into()).await?;
            // The events of the flush are heard.
            tokio::time::sleep(HEARD).await;
            let started = Instant::now();
            connection.call(&self.recall, body.clone()).await?;
            latencies.add(started.elapsed());
        }
        Ok(latencies.percentiles())
    }

    /// Those that are the same however often they are measured. A bare value in Redis is as long as an answer.
    pub async fn lasting(&self, answer_bytes: usize) -> anyhow::Result<Vec<Case>> {
        let nothing = || Arc::new(Bodies::Empty);
        let Size { questions, exponent, .. } = self.size;
        let bypassing = Bodies::questions(&self.vocabulary, 0, questions, exponent, "bypass");
        let new = Bodies::new_questions(self.vocabulary.clone(), NEW);
        let mut cases = vec![
            (LIVEZ, self.http(Call::get("/livez", 200)?, nothing())),
            (GATE, self.gate()?),
            // Whoever is known learns that there is nothing here.
            (GATE_HTTP, self.http(Call::get(&format!("/v1/agents/{AGENT}/nothing"), 404)?, nothing())),
            (HIT_LOCAL, self.http(self.recall.clone(), self.known.clone())),
            (MISS_EMBEDDED, self.http(self.recall.clone(), Arc::new(bypassing))),
            (MISS, self.http(self.recall.clone(), Arc::new(new))),
        ];
        if let Some(beside) = &self.site.beside
            && let Some(redis) = beside.app.cache.redis()
        {
            let key = format!("{}{}:bench", beside.app.config.cache.prefix, self.site.tenant.id);
            let address = beside.address(&self.site.tenant.key)?;
            let hit = Target::Http { address, call: self.recall.clone(), bodies: self.known.clone() };
            cases.push((REDIS_GET, Target::redis(redis.clone(), key, answer_bytes).await?));
            cases.push((HIT_REDIS, hit));
        }
        Ok(cases)
    }

    /// The same spread of questions as the known ones, none of them asked before. `number` tells those of one
    /// measurement from those of the next.
    pub fn cold(&self, number: u64) -> Case {
        let Size { questions, exponent, .. } = self.size;
        let first = COLD + number * questions as u64;
        let bodies = Bodies::questions(&self.vocabulary, first, questions, exponent, "use");
        (FROM_COLD, self.http(self.recall.clone(), Arc::new(bodies)))
    }

    fn http(&self, call: Call, bodies: Arc<Bodies>) -> Target {
        Target::Http { address: self.address.clone(), call, bodies }
    }

    /// The question that a recall of the same caller comes with.
    fn gate(&self) -> anyhow::Result<Target> {
        let subject = ExternalId::parse(AGENT).map_err(Error::from)?;
        let (key, subject) = (Some(self.site.tenant.key_id), Some(subject));
        let question = auth::Question { key, subject, ..auth::Question::default() };
        Ok(Target::Gate { db: self.site.instance.app.db.clone(), gate: None, question })
    }
}
