//! Owners who take rights and give them back, and agents that try all the while what they may not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::circles::authority::site::{CIRCLE, Site};
use crate::harness::{Answer, Client};
use crate::support::attempts::Standing;
use crate::support::authority::Turn;

/// That ask on behalf of one agent.
pub const CALLERS: usize = 2;

/// What owners take from an agent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// It is removed.
    ToBeThere,
    /// It becomes a reader.
    ToWrite,
}

/// An agent, by a number that no other has.
pub struct Agent {
    pub number: usize,
    pub right: Right,
    pub standing: Standing,
    pub client: Client,
    /// How many of its calls have come to an end.
    pub asked: AtomicUsize,
}

impl Agent {
    /// Until so many calls have begun and ended since (its callers are in the midst of one each), or it asks no more.
    async fn asks(&self, calls: usize, over: &AtomicBool) {
        let enough = self.asked.load(Ordering::Relaxed) + CALLERS + calls;
        while self.asked.load(Ordering::Relaxed) < enough && !over.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Takes the right away and gives it back, each time as another owner at another instance.
pub async fn take_and_give(site: Arc<Site>, agent: Arc<Agent>, over: Arc<AtomicBool>) {
    let path = format!("/v1/circles/{CIRCLE}/members/{}", agent.standing.agent);
    let turned = |turn| site.authority.turned(agent.number, site.now(), turn);
    let mut owners = (agent.number..).map(|number| site.owner(number));
    while !over.load(Ordering::Relaxed) {
        agent.asks(2, &over).await;
        let (taker, giver) = (owners.next().expect("endless"), owners.next().expect("endless"));
        turned(Turn::Taking);
        let (take, taken) = match agent.right {
            Right::ToBeThere => (taker.request(Method::DELETE, &path), 204),
            Right::ToWrite => (taker.request(Method::PUT, &path).json(&json!({"role": "reader"})), 200),
        };
        insist(&taker, take).await.expect(taken);
        turned(Turn::Taken);
        agent.asks(14, &over).await;
        turned(Turn::Giving);
        let give = giver.request(Method::PUT, &path).json(&json!({"role": "editor"}));
        insist(&giver, give).await.expect(if agent.right == Right::ToBeThere { 201 } else { 200 });
        turned(Turn::Given);
    }
}

/// Asks again while the server is overloaded: on a machine busy enough, a lock is waited for longer than it may be.
/// Nothing was done then.
async fn insist(client: &Client, request: RequestBuilder) -> Answer {
    for _ in 0..10 {
        let answer = client.send(request.try_clone().expect("not a stream")).await;
        if answer.status != 503 || !answer.text.contains("\"overloaded\"") {
            return answer;
        }
    }
    client.send(request).await
}

/// Asks for one thing after the other, at any instance, whatever the answer is.
pub async fn ask_on(site: Arc<Site>, agent: Arc<Agent>, seed: u64, over: Arc<AtomicBool>) {
    let mut dice = StdRng::seed_from_u64(seed);
    while !over.load(Ordering::Relaxed) {
        let number = site.number();
        let attempts = match (agent.right, dice.random_range(0..100)) {
            (Right::ToBeThere, ..45) => agent.standing.cached_reads(),
            (Right::ToBeThere, 45..75) => agent.standing.plain_reads(),
            (_, 98..) => agent.standing.content_writes(number),
            _ => agent.standing.board_writes(number),
        };
        let attempt = attempts.choose(&mut dice).expect("some");
        let client = agent.client.at(site.back_end(dice.random_range(0..3)).url());
        site.try_out(agent.number, &client, attempt, number).await;
        agent.asked.fetch_add(1, Ordering::Relaxed);
    }
}

/// At every instance, so that what a member gets is cached there.
pub async fn warm_up(site: &Site, agent: &Agent) {
    for instance in 0..3 {
        let client = agent.client.at(site.back_end(instance).url());
        for attempt in agent.standing.cached_reads() {
            site.try_out(agent.number, &client, &attempt, site.number()).await;
        }
    }
}
