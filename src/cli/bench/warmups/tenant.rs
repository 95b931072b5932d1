//! A tenant of its own for each variant, filled, and with its warm-up where it has one.

use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::cli::bench::generator::{Address, Call};
use crate::cli::bench::site::{Site, Tenant};
use crate::cli::bench::warmups::{Size, Variant};
use crate::cli::bench::words::Vocabulary;

const MEMORY_WORDS: usize = 20;
const QUESTION_WORDS: usize = 8;
const BATCH: usize = 100;

pub struct Prepared {
    pub variant: Variant,
    pub address: Address,
    tenant: Tenant,
}

impl Prepared {
    pub async fn start(site: &Site, variant: Variant, size: Size) -> anyhow::Result<Self> {
        let tenant = Tenant::create(&site.instance.app).await?;
        let prepared = Self { variant, address: site.instance.address(&tenant.key)?, tenant };
        prepared.call(Call::patch("/v1/tenant", 200)?, json!({"rewarm": variant.rewarm})).await?;
        prepared.fill(size).await?;
        if variant.warmups {
            prepared.call(Call::post("/v1/warmups", 201)?, warmup(size)).await?;
        }
        Ok(prepared)
    }

    pub async fn end(self, site: &Site) -> anyhow::Result<()> {
        self.tenant.erase(&site.instance.app).await
    }

    /// The same texts for every tenant and agent.
    async fn fill(&self, size: Size) -> anyhow::Result<()> {
        let vocabulary = Vocabulary::english();
        let mut writer = vocabulary.writer(u64::MAX);
        let memories: Vec<Value> = (0..size.memories)
            .map(|number| json!({"content": format!("{} {number}", writer.text(MEMORY_WORDS))}))
            .collect();
        for agent in 0..size.agents {
            let call = Call::post(&format!("/v1/agents/agent-{agent}/remember/batch"), 200)?;
            for batch in memories.chunks(BATCH) {
                self.call(call.clone(), json!({"memories": batch})).await?;
            }
        }
        Ok(())
    }

    async fn call(&self, call: Call, body: Value) -> anyhow::Result<()> {
        let mut connection = self.address.connect().await?;
        connection.call(&call, Bytes::from(body.to_string())).await?;
        Ok(())
    }
}

/// What an agent is asked.
pub fn question(number: usize) -> String {
    format!("{} {number}", Vocabulary::english().writer(number as u64).text(QUESTION_WORDS))
}

fn warmup(size: Size) -> Value {
    let queries: Vec<String> = (0..usize::from(size.warmed.min(size.questions))).map(question).collect();
    let target = |agent: u16| json!({"agent_id": format!("agent-{agent}"), "queries": queries});
    let targets: Vec<Value> = (0..size.agents).map(target).collect();
    json!({"name": "each minute", "cron": "* * * * *", "targets": targets})
}
