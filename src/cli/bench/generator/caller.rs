//! What is called, over HTTP or in this process, and with what.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use hyper::body::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::app::App;
use crate::auth;
use crate::cache::Owner;
use crate::cli::answers::Question;
use crate::cli::bench::generator::http::{Address, Call, Connection, Origin};
use crate::cli::bench::generator::writers::{NewTexts, Writers, batch, memory};
use crate::cli::bench::words::Vocabulary;
use crate::cli::bench::zipf::Zipf;
use crate::db::{Db, Gate};
use crate::recall::Explaining;
use crate::redis::{Put, Redis};

const QUESTION_WORDS: usize = 8;
const RESULTS: usize = 10;

/// What all clients of a case call.
#[derive(Clone)]
pub enum Target {
    Http {
        address: Address,
        call: Call,
        bodies: Arc<Bodies>,
    },
    /// Agents that remember.
    Writers {
        address: Address,
        writers: Arc<Writers>,
    },
    /// The gate as the server passes it, without a server.
    Gate {
        db: Db,
        /// What the clients of one thread have in common.
        gate: Option<Arc<Gate>>,
        question: auth::Question,
    },
    /// A value in Redis, without a cache around it.
    Redis {
        redis: Redis,
        key: String,
    },
    /// The embedder behind its cache, without a server.
    Embedder {
        app: Arc<App>,
        owner: Owner,
        texts: Arc<Texts>,
    },
    /// The same with so many new texts at once.
    EmbedTexts {
        app: Arc<App>,
        owner: Owner,
        texts: Arc<NewTexts>,
        count: usize,
    },
}

/// The bodies of calls.
pub enum Bodies {
    Empty,
    /// Written beforehand, the commonest first.
    Zipf {
        bodies: Vec<Bytes>,
        zipf: Zipf,
    },
    /// Questions that nobody has asked before.
    New {
        vocabulary: Arc<Vocabulary>,
        next: AtomicU64,
    },
    /// To be remembered.
    Memory(NewTexts),
    /// To be remembered, so many at once.
    Batch(NewTexts, usize),
}

/// Texts to embed.
pub enum Texts {
    /// Again and again, each as often as the others.
    Known(Vec<String>),
    /// None twice.
    New { vocabulary: Arc<Vocabulary>, words: usize, next: AtomicU64 },
}

/// A client, at work on a target.
pub enum Caller {
    Http { connection: Box<Connection>, call: Call, bodies: Arc<Bodies>, random: Box<StdRng> },
    Writer { connection: Box<Connection>, writers: Arc<Writers>, number: u64 },
    Gate { gate: Arc<Gate>, question: auth::Question },
    Redis { redis: Redis, key: String },
    Embedder { app: Arc<App>, owner: Owner, texts: Arc<Texts>, calls: usize },
    EmbedTexts { app: Arc<App>, owner: Owner, texts: Arc<NewTexts>, count: usize },
}

impl Target {
    /// As the clients of this thread call it.
    pub fn of_this_thread(self) -> Self {
        match self {
            Self::Gate { db, question, .. } => Self::Gate { gate: Some(Arc::new(db.gate_of_worker(1))), db, question },
            other => other,
        }
    }

    /// A client of its own: over HTTP with its own connection.
    pub async fn client(&self, seed: u64) -> anyhow::Result<Caller> {
        Ok(match self.clone() {
            Self::Http { address, call, bodies } => {
                let (connection, random) = (address.connect().await?, StdRng::seed_from_u64(seed));
                Caller::Http { connection: Box::new(connection), call, bodies, random: Box::new(random) }
            }
            Self::Writers { address, writers } => {
                Caller::Writer { connection: Box::new(address.connect().await?), writers, number: seed }
            }
            Self::Gate { db, gate, question } => {
                let gate = gate.unwrap_or_else(|| Arc::new(db.gate_of_worker(1)));
                Caller::Gate { gate, question }
            }
            Self::Redis { redis, key } => Caller::Redis { redis, key },
            Self::Embedder { app, owner, texts } => Caller::Embedder { app, owner, texts, calls: seed as usize },
            Self::EmbedTexts { app, owner, texts, count } => Caller::EmbedTexts { app, owner, texts, count },
        })
    }

    /// A value of so many bytes in Redis.
    pub async fn redis(redis: Redis, key: String, bytes: usize) -> anyhow::Result<Self> {
        let mut value = vec![0; bytes];
        StdRng::seed_from_u64(1).fill_bytes(&mut value);
        let put = Put { key: key.clone(), value, ttl: Duration::from_secs(3600), indexes: Vec::new() };
        redis.put(vec![put]).await.map_err(|error| anyhow::anyhow!("{error}")).context("writing to Redis")?;
        Ok(Self::Redis { redis, key })
    }
}

impl Caller {
    pub async fn call(&mut self) -> anyhow::Result<Origin> {
        match self {
            Self::Http { connection, call, bodies, random } => {
                let (origin, _) = connection.call(call, bodies.next(random)).await?;
                return Ok(origin);
            }
            Self::Writer { connection, writers, number } => {
                let (call, body) = writers.next(*number)?;
                connection.call(&call, body).await?;
            }
            Self::Gate { gate, question } => {
                let passage = gate.ask(async |connection| auth::pass(connection, question).await).await?;
                passage.context("the gate knows nothing of the key")?;
            }
            Self::Redis { redis, key } => match redis.get(vec![key.clone()]).await.as_deref() {
                Ok([Some(_)]) => {}
                Ok(_) => bail!("Redis has lost the value"),
                Err(error) => bail!("Redis: {error}"),
            },
            Self::Embedder { app, owner, texts, calls } => {
                *calls += 1;
                texts.embed(app, owner, *calls).await?;
            }
            Self::EmbedTexts { app, owner, texts, count } => {
                app.embedder.embed_texts(owner, texts.take(*count)).await?;
            }
        }
        Ok(Origin::Silent)
    }
}

impl Bodies {
    /// So many questions to be asked again and again, some much more often than others.
    pub fn questions(vocabulary: &Vocabulary, first: u64, count: usize, exponent: f64, cache: &'static str) -> Self {
        let bodies = (0..count as u64).map(|number| question(vocabulary, first + number, cache)).collect();
        Self::Zipf { bodies, zipf: Zipf::new(count, exponent) }
    }

    pub fn new_questions(vocabulary: Arc<Vocabulary>, first: u64) -> Self {
        Self::New { vocabulary, next: AtomicU64::new(first) }
    }

    fn next(&self, random: &mut StdRng) -> Bytes {
        match self {
            Self::Empty => Bytes::new(),
            Self::Zipf { bodies, zipf } => bodies.get(zipf.choose(random)).cloned().unwrap_or_default(),
            Self::New { vocabulary, next } => question(vocabulary, next.fetch_add(1, Ordering::Relaxed), "use"),
            Self::Memory(texts) => texts.take(1).first().map(|text| memory(text)).unwrap_or_default(),
            Self::Batch(texts, count) => batch(&texts.take(*count)),
        }
    }

    /// Each once, where they are written already.
    pub fn all(&self) -> &[Bytes] {
        match self {
            Self::Zipf { bodies, .. } => bodies,
            Self::Empty | Self::New { .. } | Self::Memory(_) | Self::Batch(..) => &[],
        }
    }
}

/// The number makes it a question of its own.
fn question(vocabulary: &Vocabulary, number: u64, cache: &'static str) -> Bytes {
    let query = format!("{} {number}", vocabulary.writer(number).text(QUESTION_WORDS));
    let question = Question { query: &query, k: RESULTS, mode: None, explain: &Explaining::Plain(false), cache };
    Bytes::from(json!(question).to_string())
}

impl Texts {
    pub fn new(vocabulary: Arc<Vocabulary>, words: usize) -> Self {
        Self::New { vocabulary, words, next: AtomicU64::new(1 << 32) }
    }

    async fn embed(&self, app: &App, owner: &Owner, call: usize) -> anyhow::Result<()> {
        match self {
            Self::Known(texts) => {
                let text = texts.get(call % texts.len().max(1)).context("no texts")?;
                app.embedder.embed_query(owner, text).await?;
            }
            Self::New { vocabulary, words, next } => {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let text = format!("{} {number}", vocabulary.writer(number).text(*words));
                app.embedder.embed_query(owner, &text).await?;
            }
        }
        Ok(())
    }
}
