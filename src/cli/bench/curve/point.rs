//! The figures of a tenant of one size.

use std::time::Instant;

use anyhow::Context;
use hyper::body::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::bench::curve::fill::Crowd;
use crate::cli::bench::generator::{Call, Connection, NewTexts, memory};
use crate::cli::bench::site::Site;
use crate::cli::latency::{Latencies, Percentiles};

/// So many agents are asked, and remember.
const ASKED: u64 = 16;
const QUESTIONS: u64 = 20;
/// The first answers of so many agents.
const FIRST: usize = 8;
/// After a flush, a large scope is in memory again before long.
const WARM_UP_CALLS: usize = 3;

#[derive(Serialize)]
pub struct Point {
    pub memories: u64,
    pub agents: u64,
    /// A recall whose answer is cached.
    pub hit: Percentiles,
    /// One whose question is embedded and whose answer is computed.
    pub computed: Percentiles,
    /// The same when nothing of the agent is in memory.
    pub first: Percentiles,
    pub remember: Percentiles,
    /// What a memory takes there, with all indexes; none: it took the room of memories that were erased.
    pub postgres_bytes: Option<f64>,
    /// How answers were computed: `hot_index`, `exact_scan` or `approximate_index`.
    pub way: String,
}

pub async fn measure(site: &Site, crowd: &Crowd, postgres_bytes: Option<f64>, seconds: u64) -> anyhow::Result<Point> {
    let mut client = Client { connection: crowd.address.connect().await?, crowd, agents: crowd.some(ASKED), seconds };
    let first = client.first().await?;
    let way = client.settle(site).await?;
    Ok(Point {
        memories: crowd.memories,
        agents: crowd.agents,
        hit: client.recalls("use").await?,
        computed: client.recalls("bypass").await?,
        first,
        remember: client.remembers(site).await?,
        postgres_bytes,
        way,
    })
}

struct Client<'a> {
    connection: Connection,
    crowd: &'a Crowd,
    agents: Vec<String>,
    seconds: u64,
}

impl Client<'_> {
    /// Asks an agent, with what it costs.
    async fn ask(&mut self, agent: &str, question: u64, cache: &str) -> anyhow::Result<(f64, Value)> {
        let query = format!("{} {question}", self.crowd.vocabulary.writer(question).text(8));
        let body = Bytes::from(json!({"query": query, "k": 10, "cache": cache}).to_string());
        let call = Call::post(&format!("/v1/agents/{agent}/recall"), 200)?;
        let started = Instant::now();
        let (_, answer) = self.connection.call(&call, body).await?;
        Ok((started.elapsed().as_secs_f64() * 1e3, serde_json::from_slice(&answer)?))
    }

    /// Nothing of the tenant is in memory; the question is embedded.
    async fn first(&mut self) -> anyhow::Result<Percentiles> {
        let agents = self.agents.clone();
        let mut latencies = Latencies::default();
        for question in 0..QUESTIONS {
            self.ask(&agents[0], question, "bypass").await?;
        }
        for (number, agent) in agents.iter().cycle().take(FIRST).enumerate() {
            self.connection.call(&Call::post("/v1/cache/flush", 200)?, r#"{"kinds": ["recall"]}"#.into()).await?;
            latencies.add_ms(self.ask(agent, number as u64, "bypass").await?.0);
        }
        Ok(latencies.percentiles())
    }

    /// Until what can be in memory is there; how answers are computed from then on.
    async fn settle(&mut self, site: &Site) -> anyhow::Result<String> {
        let patience = Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let agents = self.agents.clone();
            for agent in &agents {
                for question in 0..WARM_UP_CALLS as u64 {
                    self.ask(agent, question, "bypass").await?;
                }
            }
            let way = self.way().await?;
            let settings = &site.instance.app.config.recall;
            let fits = self.crowd.memories / self.crowd.agents <= settings.hot_scope_memories as u64;
            if way == "hot_index" || !fits || Instant::now() > patience {
                return Ok(way);
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    async fn way(&mut self) -> anyhow::Result<String> {
        let last = self.agents.last().context("no agent")?;
        let call = Call::post(&format!("/v1/agents/{last}/recall"), 200)?;
        let body = r#"{"query": "kettle", "cache": "bypass", "explain": true}"#;
        let (_, answer) = self.connection.call(&call, body.into()).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        Ok(answer["path"].as_str().context("no path")?.to_owned())
    }

    async fn recalls(&mut self, cache: &str) -> anyhow::Result<Percentiles> {
        let agents = self.agents.clone();
        for agent in &agents {
            for question in 0..QUESTIONS {
                self.ask(agent, question, "use").await?;
            }
        }
        let (mut latencies, started) = (Latencies::default(), Instant::now());
        for number in 0_u64.. {
            if started.elapsed().as_secs() >= self.seconds {
                break;
            }
            let agent = &agents[number as usize % agents.len()];
            latencies.add_ms(self.ask(agent, number / agents.len() as u64 % QUESTIONS, cache).await?.0);
        }
        Ok(latencies.percentiles())
    }

    /// Memories that are embedded beforehand; they are forgotten again.
    async fn remembers(&mut self, site: &Site) -> anyhow::Result<Percentiles> {
        let texts = NewTexts::new(self.crowd.vocabulary.clone(), 20, (1 << 50) + self.crowd.memories);
        let (mut latencies, started) = (Latencies::default(), Instant::now());
        let mut ids = Vec::new();
        for agent in self.agents.clone().iter().cycle() {
            if started.elapsed().as_secs() >= self.seconds {
                break;
            }
            let text = texts.take(1);
            site.instance.app.embedder.embed_texts(&self.crowd.owner, text.clone()).await?;
            let call = Call::post(&format!("/v1/agents/{agent}/remember"), 201)?;
            let began = Instant::now();
            let (_, answer) = self.connection.call(&call, memory(&text[0])).await?;
            latencies.add(began.elapsed());
            let answer: Value = serde_json::from_slice(&answer)?;
            ids.push(answer["id"].as_str().context("no id")?.to_owned());
        }
        for id in ids {
            self.connection.call(&Call::delete(&format!("/v1/memories/{id}"), 204)?, Bytes::new()).await?;
        }
        Ok(latencies.percentiles())
    }
}
