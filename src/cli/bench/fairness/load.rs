//! Two tenants: one that calls steadily, and one that sends what is dear, many times as much as it may.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use crate::cli::bench::fairness::Args;
use crate::cli::bench::fairness::pace::{self, Calls, Pace, Seen};
use crate::cli::bench::generator::{Address, Call};
use crate::cli::bench::site::Site;
use crate::cli::bench::words::Vocabulary;
use crate::db::Intent;
use crate::http::IfMatch;
use crate::ids::TenantId;
use crate::tenants::{self, QuotaPatch, TenantPatch};

const AGENT: &str = "bench";
const BATCH: u64 = 100;
const WORDS: usize = 20;
/// As many as a filter may have, with as many alternatives each.
const CONDITIONS: u64 = 16;
const ALTERNATIVES: u64 = 100;
const KNOWN_QUESTIONS: u64 = 50;
const STEADY_CONNECTIONS: usize = 8;
const CROWD_CONNECTIONS: usize = 64;

pub struct Load {
    steady: Address,
    crowd: Address,
    steady_pace: u32,
    crowd_pace: u32,
    maker: Arc<Maker>,
}

/// Makes calls up. The number makes each text one of its own.
struct Maker {
    vocabulary: Vocabulary,
    next: AtomicU64,
    recall: Call,
    remember: Call,
    batch: Call,
}

impl Load {
    pub async fn prepare(args: &Args, site: &Site, is_limited: bool) -> anyhow::Result<Self> {
        let maker = Arc::new(Maker::new()?);
        let (steady, crowd) = (site.instance.address(&site.tenant.key)?, site.instance.address(&site.other.key)?);
        for address in [&steady, &crowd] {
            maker.fill(address, args.memories).await?;
        }
        if is_limited {
            limit(args, site, site.other.id).await?;
        }
        Ok(Self { steady, crowd, steady_pace: args.steady, crowd_pace: args.quota * args.times, maker })
    }

    pub async fn steady(&self, length: Duration) -> anyhow::Result<Seen> {
        let pace = Pace { per_second: self.steady_pace, connections: STEADY_CONNECTIONS, length };
        let maker = self.maker.clone();
        let calls: Calls = Arc::new(move |number| match number % 10 {
            0 => maker.one_memory(),
            1..=3 => maker.known_question(number),
            _ => maker.new_question(),
        });
        pace::run(self.steady.clone(), pace, calls).await
    }

    pub async fn crowd(&self, length: Duration) -> anyhow::Result<Seen> {
        let pace = Pace { per_second: self.crowd_pace, connections: CROWD_CONNECTIONS, length };
        let maker = self.maker.clone();
        let calls: Calls =
            Arc::new(move |number| if number % 2 == 0 { maker.large_batch() } else { maker.large_filter() });
        pace::run(self.crowd.clone(), pace, calls).await
    }
}

async fn limit(args: &Args, site: &Site, tenant: TenantId) -> anyhow::Result<()> {
    let most = |number: u32| Some(Some(i32::try_from(number).unwrap_or(i32::MAX)));
    let quotas = QuotaPatch {
        requests_per_second: most(args.quota),
        concurrent_requests: most(2),
        embedding_tokens_per_minute: most(args.tokens),
        ..QuotaPatch::default()
    };
    let (db, intent) = (site.instance.app.db.clone(), Intent::of_operator(TenantId::OPERATOR));
    tenants::patch(db, intent, tenant, TenantPatch::of_quotas(quotas), IfMatch::default()).await?;
    Ok(())
}

impl Maker {
    fn new() -> anyhow::Result<Self> {
        let path = |what: &str| format!("/v1/agents/{AGENT}/{what}");
        Ok(Self {
            vocabulary: Vocabulary::large(),
            next: AtomicU64::new(KNOWN_QUESTIONS),
            recall: Call::post(&path("recall"), 200)?,
            remember: Call::post(&path("remember"), 201)?,
            batch: Call::post(&path("remember/batch"), 200)?,
        })
    }

    async fn fill(&self, address: &Address, memories: u64) -> anyhow::Result<()> {
        let mut connection = address.connect().await?;
        for _ in 0..memories.div_ceil(BATCH) {
            let (call, body) = self.large_batch();
            connection.call(&call, body).await?;
        }
        Ok(())
    }

    fn text(&self, number: u64) -> String {
        format!("{} {number}", self.vocabulary.writer(number).text(WORDS))
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn one_memory(&self) -> (Call, Bytes) {
        (self.remember.clone(), Bytes::from(json!({"content": self.text(self.number())}).to_string()))
    }

    fn known_question(&self, number: u64) -> (Call, Bytes) {
        self.question(number % KNOWN_QUESTIONS, json!({}))
    }

    fn new_question(&self) -> (Call, Bytes) {
        self.question(self.number(), json!({}))
    }

    fn question(&self, number: u64, filter: Value) -> (Call, Bytes) {
        let mut question = json!({"query": self.text(number), "k": 10});
        if filter.as_object().is_some_and(|filter| !filter.is_empty()) {
            question["filter"] = filter;
        }
        (self.recall.clone(), Bytes::from(question.to_string()))
    }

    /// Asks for all that is there, in as many words as possible.
    fn large_filter(&self) -> (Call, Bytes) {
        let values: Vec<u64> = (0..ALTERNATIVES).collect();
        let conditions = (0..CONDITIONS).map(|key| (format!("k{key}"), json!({ "in": values })));
        self.question(self.number(), json!({"metadata": Map::from_iter(conditions)}))
    }

    fn large_batch(&self) -> (Call, Bytes) {
        let memory = |_| {
            let number = self.number();
            let metadata = (0..CONDITIONS).map(|key| (format!("k{key}"), json!((number + key) % ALTERNATIVES)));
            json!({"content": self.text(number), "metadata": Map::from_iter(metadata)})
        };
        let memories: Vec<Value> = (0..BATCH).map(memory).collect();
        (self.batch.clone(), Bytes::from(json!({ "memories": memories }).to_string()))
    }
}
