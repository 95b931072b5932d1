//! One batch on its way to the server: sent, and sent again without the lines it refuses.

use std::collections::VecDeque;

use serde::Deserialize;

use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::import::lines::Place;
use crate::cli::import::queue::{Batch, Item};

/// What became of the lines of a batch.
#[derive(Debug, Default)]
pub struct Delivery {
    pub created: u64,
    pub replaced: u64,
    pub duplicate: u64,
    pub accepted: Vec<Place>,
    pub rejected: Vec<(Place, String)>,
}

#[derive(Deserialize)]
struct Answer {
    items: Vec<Remembered>,
}

#[derive(Deserialize)]
struct Remembered {
    outcome: String,
}

/// Delivers all that can be. An error is about the whole import: nobody listens, or the key is wrong.
pub async fn deliver(client: &Client, batch: Batch) -> Result<Delivery, Failure> {
    let path = format!("/v1/agents/{}/remember/batch", batch.agent);
    let mut delivery = Delivery::default();
    let mut parts = VecDeque::from([batch.items]);
    while let Some(items) = parts.pop_front() {
        match client.send_patiently(&path, body(&items)).await {
            Ok(reply) => delivery.accept(&items, &reply.json()?),
            Err(Failure::Refused(problem)) if problem.blames_the_body() => {
                let mut blamed = problem.blamed("memories");
                blamed.retain(|index, _| *index < items.len());
                if blamed.is_empty() && items.len() == 1 {
                    blamed.insert(0, problem.to_string());
                }
                if blamed.is_empty() {
                    halve(items).into_iter().rev().for_each(|half| parts.push_front(half));
                    continue;
                }
                let mut good = Vec::new();
                for (index, item) in items.into_iter().enumerate() {
                    match blamed.remove(&index) {
                        Some(reason) => delivery.rejected.push((item.place, reason)),
                        None => good.push(item),
                    }
                }
                if !good.is_empty() {
                    parts.push_front(good);
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(delivery)
}

impl Delivery {
    fn accept(&mut self, items: &[Item], answer: &Answer) {
        self.accepted.extend(items.iter().map(|item| item.place));
        for item in &answer.items {
            match item.outcome.as_str() {
                "created" => self.created += 1,
                "replaced" => self.replaced += 1,
                _ => self.duplicate += 1,
            }
        }
    }
}

/// When the server does not say which line it minds.
fn halve(mut items: Vec<Item>) -> [Vec<Item>; 2] {
    let rest = items.split_off(items.len() / 2);
    [items, rest]
}

fn body(items: &[Item]) -> String {
    let memories: Vec<&str> = items.iter().map(|item| item.json.as_str()).collect();
    format!("{{\"memories\":[{}]}}", memories.join(","))
}
