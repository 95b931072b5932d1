//! A closed loop: so many clients, each sending its next call when the last is answered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::cli::client::Client;
use crate::cli::latency::{Latencies, Percentiles};

/// Calls before this are not counted.
const WARM_UP: Duration = Duration::from_secs(1);

/// What one client sends next: a path and a body.
pub type Calls = Box<dyn FnMut() -> (String, Value) + Send>;

/// What a number of clients saw.
#[derive(Serialize)]
pub struct Load {
    pub action: &'static str,
    pub clients: usize,
    pub calls_per_second: f64,
    pub latency_ms: Percentiles,
    /// The server's own measure of its stages.
    pub stages_ms: BTreeMap<String, Percentiles>,
}

#[derive(Default)]
struct Measured {
    latencies: Latencies,
    stages: BTreeMap<String, Latencies>,
}

/// Runs one client for each of `all` for so long. The first call that fails ends it.
pub async fn run(client: &Client, action: &'static str, all: Vec<Calls>, seconds: u64) -> anyhow::Result<Load> {
    let clients = all.len();
    let begin = Instant::now() + WARM_UP;
    let length = Duration::from_secs(seconds);
    let mut running: JoinSet<anyhow::Result<Measured>> = JoinSet::new();
    for calls in all {
        running.spawn(one(client.clone(), calls, begin, begin + length));
    }
    let mut total = Measured::default();
    while let Some(measured) = running.join_next().await {
        total.add(measured??);
    }
    let latency_ms = total.latencies.percentiles();
    Ok(Load {
        action,
        clients,
        calls_per_second: latency_ms.count as f64 / length.as_secs_f64(),
        latency_ms,
        stages_ms: total.stages.iter().map(|(name, stage)| (name.clone(), stage.percentiles())).collect(),
    })
}

async fn one(client: Client, mut calls: Calls, begin: Instant, end: Instant) -> anyhow::Result<Measured> {
    let mut measured = Measured::default();
    loop {
        let (path, body) = calls();
        let reply = client.post(&path, &body).await?;
        let now = Instant::now();
        if now >= end {
            return Ok(measured);
        }
        if now >= begin {
            measured.latencies.add(reply.took());
            for (stage, ms) in reply.stages() {
                measured.stages.entry(stage.clone()).or_default().add_ms(*ms);
            }
        }
    }
}

impl Measured {
    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        for (stage, latencies) in other.stages {
            self.stages.entry(stage).or_default().extend(latencies);
        }
    }
}
