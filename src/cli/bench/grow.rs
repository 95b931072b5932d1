//! Whether remembering slows down as an agent's memories grow: one after the other, by tenths.

use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use crate::cli::bench::table;
use crate::cli::bench::words::Writer;
use crate::cli::client::Client;
use crate::cli::latency::{Latencies, Percentiles};
use crate::cli::progress::Progress;

/// A tenth of the way.
#[derive(Serialize)]
pub struct Tenth {
    pub from: u64,
    pub to: u64,
    pub latency_ms: Percentiles,
    pub calls_per_second: f64,
}

pub async fn run(
    client: &Client,
    agent: &str,
    count: u64,
    words: usize,
    mut writer: Writer<'_>,
) -> anyhow::Result<Vec<Tenth>> {
    let path = format!("/v1/agents/{agent}/remember");
    let progress = Progress::new(count);
    let mut tenths = Vec::new();
    for tenth in 0..10 {
        let (from, to) = (count * tenth / 10, count * (tenth + 1) / 10);
        let (mut latencies, started) = (Latencies::default(), Instant::now());
        for number in from..to {
            let body = json!({"content": format!("{} {number}", writer.text(words))});
            latencies.add(client.post(&path, &body).await?.took());
            progress.at(number + 1, &format!("{} memories", number + 1));
        }
        let calls_per_second = (to - from) as f64 / started.elapsed().as_secs_f64().max(1e-9);
        tenths.push(Tenth { from, to, latency_ms: latencies.percentiles(), calls_per_second });
    }
    progress.end();
    print(&tenths);
    Ok(tenths)
}

fn print(tenths: &[Tenth]) {
    let header = ["remember, from memory", "to"].into_iter().chain(Percentiles::HEADER).chain(["calls/s"]);
    let mut table = table(header);
    for tenth in tenths {
        let numbers = tenth.latency_ms.cells().into_iter().chain([format!("{:.0}", tenth.calls_per_second)]);
        table.add_row([(tenth.from + 1).to_string(), tenth.to.to_string()].into_iter().chain(numbers));
    }
    println!("{table}\n");
}
