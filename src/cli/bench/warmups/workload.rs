//! The calls of a tenant: at a steady pace, by Zipf, with a write now and then.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::cli::bench::generator::{Call, Connection, Origin};
use crate::cli::bench::warmups::tenant::{Prepared, question};
use crate::cli::bench::warmups::{Outcome, Size};
use crate::cli::bench::zipf::Zipf;
use crate::cli::latency::Latencies;
use crate::cli::progress::Progress;

/// So often since the last change is often.
const OFTEN: u32 = 3;

pub struct Workload {
    pub size: Size,
    pub rate: u32,
    pub writes_percent: u32,
    pub time: Duration,
}

/// What is known of a question to an agent.
#[derive(Default)]
struct Asked {
    since_change: u32,
    /// When a change made the answer worthless, if it was asked for often and has not been hit since.
    changed: Option<Instant>,
}

struct Run<'a> {
    workload: &'a Workload,
    connection: Connection,
    random: StdRng,
    agents: Zipf,
    questions: Zipf,
    bodies: Vec<Bytes>,
    asked: HashMap<(usize, usize), Asked>,
    next_hits: Latencies,
    latencies: Latencies,
    /// Recalls and hits: of the first minute, of all.
    counts: [(u64, u64); 2],
}

impl Workload {
    pub async fn run(&self, prepared: &Prepared, progress: &Progress) -> anyhow::Result<Outcome> {
        let mut run = Run::new(self, prepared.address.connect().await?);
        let started = Instant::now();
        let pause = Duration::from_secs(1) / self.rate;
        let mut number: u32 = 0;
        while started.elapsed() < self.time {
            run.call(number, started).await?;
            number += 1;
            let secs = started.elapsed().as_secs();
            progress.at(secs, &format!("{secs} s"));
            tokio::time::sleep((pause * number).saturating_sub(started.elapsed())).await;
        }
        let rate = |(recalls, hits): (u64, u64)| hits as f64 / recalls.max(1) as f64;
        let [first, all] = run.counts;
        Ok(Outcome {
            variant: prepared.variant,
            recalls: all.0,
            hits: all.1,
            first_minute_hit_rate: rate(first),
            hit_rate: rate(all),
            next_hit_ms: run.next_hits.percentiles(),
            recall_ms: run.latencies.percentiles(),
        })
    }
}

impl<'a> Run<'a> {
    fn new(workload: &'a Workload, connection: Connection) -> Self {
        let Size { agents, questions, .. } = workload.size;
        let body = |number| Bytes::from(json!({"query": question(number)}).to_string());
        Self {
            workload,
            connection,
            random: StdRng::seed_from_u64(7),
            agents: Zipf::new(agents.into(), 1.0),
            questions: Zipf::new(questions.into(), 1.0),
            bodies: (0..usize::from(questions)).map(body).collect(),
            asked: HashMap::new(),
            next_hits: Latencies::default(),
            latencies: Latencies::default(),
            counts: [(0, 0); 2],
        }
    }

    /// Drawn in the same order for every tenant.
    async fn call(&mut self, number: u32, started: Instant) -> anyhow::Result<()> {
        let writes = self.random.random_range(0..100) < self.workload.writes_percent;
        let (agent, question) = (self.agents.choose(&mut self.random), self.questions.choose(&mut self.random));
        if writes { self.remember(agent, number).await } else { self.recall(agent, question, started).await }
    }

    async fn remember(&mut self, agent: usize, number: u32) -> anyhow::Result<()> {
        let call = Call::post(&format!("/v1/agents/agent-{agent}/remember"), 201)?;
        let body = json!({"content": format!("Something new, number {number}.")});
        self.connection.call(&call, Bytes::from(body.to_string())).await?;
        let now = Instant::now();
        for (_, asked) in self.asked.iter_mut().filter(|((whose, _), _)| *whose == agent) {
            if asked.since_change >= OFTEN {
                asked.changed.get_or_insert(now);
            }
            asked.since_change = 0;
        }
        Ok(())
    }

    async fn recall(&mut self, agent: usize, question: usize, started: Instant) -> anyhow::Result<()> {
        let call = Call::post(&format!("/v1/agents/agent-{agent}/recall"), 200)?;
        let asked_at = Instant::now();
        let (origin, _) = self.connection.call(&call, self.bodies[question].clone()).await?;
        self.latencies.add(asked_at.elapsed());
        let hit = matches!(origin, Origin::Local | Origin::Redis);
        let first_minute = started.elapsed() < Duration::from_secs(60);
        for (recalls, hits) in self.counts.iter_mut().skip(usize::from(!first_minute)) {
            *recalls += 1;
            *hits += u64::from(hit);
        }
        let asked = self.asked.entry((agent, question)).or_default();
        asked.since_change += 1;
        if let Some(changed) = asked.changed.take_if(|_| hit) {
            self.next_hits.add(changed.elapsed());
        }
        Ok(())
    }
}
