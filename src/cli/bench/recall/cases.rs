//! What is measured: recalls by where their answers come from, and the parts that every one of them is made of.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use hyper::body::Bytes;
use serde_json::json;

use crate::auth;
use crate::cli::bench::recall::caller::{Bodies, Target};
use crate::cli::bench::recall::http::{Address, Call};
use crate::cli::bench::recall::report::{
    FROM_COLD, GATE, GATE_HTTP, HIT_LOCAL, HIT_REDIS, LIVEZ, MISS, MISS_EMBEDDED, REDIS_GET,
};
use crate::cli::bench::recall::site::{Instance, Tenant};
use crate::cli::bench::words::Vocabulary;
use crate::cli::progress::Progress;
use crate::error::Error;
use crate::ids::ExternalId;
use crate::redis::Redis;

const AGENT: &str = "bench";
const BATCH: u64 = 100;
/// Questions are numbered, so that those of one case are never those of another.
const NEW: u64 = 1 << 32;
const COLD: u64 = 2 << 32;

/// How many memories and questions there are.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub memories: u64,
    pub words: usize,
    pub questions: usize,
    pub exponent: f64,
}

/// What the cases have in common.
pub struct Cases<'a> {
    size: Size,
    vocabulary: Arc<Vocabulary>,
    instance: &'a Instance,
    address: Address,
    tenant: &'a Tenant,
    recall: Call,
    /// Asked again and again; after `warm`, the answers are cached.
    known: Arc<Bodies>,
    new: Arc<Bodies>,
}

pub type Case = (&'static str, Target);

impl<'a> Cases<'a> {
    pub fn new(size: Size, instance: &'a Instance, tenant: &'a Tenant) -> anyhow::Result<Self> {
        let vocabulary = Arc::new(Vocabulary::large());
        let known = Bodies::questions(&vocabulary, 0, size.questions, size.exponent, "use");
        let new = Bodies::New { vocabulary: vocabulary.clone(), next: AtomicU64::new(NEW) };
        Ok(Self {
            address: instance.address(&tenant.key)?,
            recall: Call::post(&format!("/v1/agents/{AGENT}/recall"), 200)?,
            known: Arc::new(known),
            new: Arc::new(new),
            size,
            vocabulary,
            instance,
            tenant,
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

    /// All that need this one instance and no Redis.
    pub fn of_one_instance(&self) -> anyhow::Result<Vec<Case>> {
        let questions = |cache| Bodies::questions(&self.vocabulary, 0, self.size.questions, self.size.exponent, cache);
        Ok(vec![
            (LIVEZ, self.http(Call::get("/livez", 200)?, Arc::new(Bodies::Empty))),
            (GATE, self.gate()?),
            // Whoever is known learns that there is nothing here.
            (GATE_HTTP, self.http(Call::get(&format!("/v1/agents/{AGENT}/nothing"), 404)?, Arc::new(Bodies::Empty))),
            (HIT_LOCAL, self.http(self.recall.clone(), self.known.clone())),
            (MISS_EMBEDDED, self.http(self.recall.clone(), Arc::new(questions("bypass")))),
            (MISS, self.http(self.recall.clone(), self.new.clone())),
        ])
    }

    /// Those that meet Redis: a bare value of so many bytes, and recalls on an instance that keeps nothing itself.
    pub async fn of_redis(&self, redis: Redis, beside: &Instance, bytes: usize) -> anyhow::Result<Vec<Case>> {
        let key = format!("{}{}:bench", self.instance.app.config.cache.prefix, self.tenant.id);
        let address = beside.address(&self.tenant.key)?;
        let hit = Target::Http { address, call: self.recall.clone(), bodies: self.known.clone() };
        Ok(vec![(REDIS_GET, Target::redis(redis, key, bytes).await?), (HIT_REDIS, hit)])
    }

    /// The same spread of questions as the known ones, none of them asked before. `number` tells apart those of one
    /// measurement from those of the next.
    pub fn from_cold(&self, number: u64) -> Case {
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
        let question =
            auth::Question { key: Some(self.tenant.key_id), subject: Some(subject), ..auth::Question::default() };
        Ok(Target::Gate { db: self.instance.app.db.clone(), question })
    }
}
