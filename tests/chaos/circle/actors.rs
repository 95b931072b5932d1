//! Owners who remove members and add them again, and members who take no notice.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use crate::caller::Reply;
use crate::circle::found::OWNERS;
use crate::circle::stage::{Ask, CIRCLE, Stage, Voice, request};
use crate::history::Layer;
use crate::site::INSTANCES;
use crate::support::attempts::{Attempt, Standing};
use crate::support::authority::{Call, Turn};

/// Of all owners together, at most.
const REMOVALS_A_SECOND: u32 = 20;

/// How long a member rests between two calls: most of the load shall be that of promise P1.
const REST: Duration = Duration::from_millis(200);

/// An agent that is a member now and then, by a number that no other has.
pub struct Member {
    pub number: usize,
    pub standing: Standing,
    pub voice: Voice,
}

/// Removes one after the other of these members, at any server, and adds each again when the next is removed. With three
/// of them, each is in as long as it is out.
pub async fn manage(stage: Arc<Stage>, owner: String, members: Vec<Arc<Member>>) {
    let owner = Voice::For(owner);
    let mut beat = tokio::time::interval(Duration::from_secs(OWNERS.len() as u64) / REMOVALS_A_SECOND);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut removed: Option<&Member> = None;
    for member in members.iter().cycle().take_while(|_| !stage.is_over()) {
        beat.tick().await;
        change(&stage, &owner, member, [Turn::Taking, Turn::Taken]).await;
        if let Some(before) = removed.replace(member) {
            change(&stage, &owner, before, [Turn::Giving, Turn::Given]).await;
        }
    }
}

/// As long as nobody knows what became of it the member is neither in nor out.
async fn change(stage: &Stage, owner: &Voice, member: &Member, [before, after]: [Turn; 2]) {
    let path = format!("/circles/{CIRCLE}/members/{}", member.standing.agent);
    let change = match before {
        Turn::Taking => request("remove", Method::DELETE, path, Value::Null),
        _ => request("add", Method::PUT, path, json!({"role": "editor"})),
    };
    stage.turned(member.number, before);
    stage.insist(owner, member.number, &change).await;
    stage.turned(member.number, after);
}

/// Asks for one thing after the other, at any server, whatever the answer is.
pub async fn ask_on(stage: Arc<Stage>, member: Arc<Member>, seed: u64) {
    let mut dice = StdRng::seed_from_u64(seed.wrapping_sub(member.number as u64));
    while !stage.is_over() {
        let number = stage.number();
        // What changes the answers of recalls is rare: then they are cached.
        let attempts = match dice.random_range(0..300) {
            ..195 => member.standing.cached_reads(),
            195..240 => member.standing.plain_reads(),
            240..299 => member.standing.board_writes(number),
            _ => member.standing.content_writes(number),
        };
        let attempt = attempts.choose(&mut dice).expect("some");
        let once = attempt.is_repeated.then(|| format!("member {}", member.number));
        let ask = Ask { voice: &member.voice, right: member.number, attempt, once };
        let reply = stage.ask(dice.random_range(0..INSTANCES), &ask).await;
        stage.authority.called(call(number, &member, attempt, &reply));
        tokio::time::sleep(REST).await;
    }
}

/// What the judge has to know. Who is told of a failure does not know what became of the call.
fn call(number: usize, member: &Member, attempt: &Attempt, reply: &Reply) -> Call {
    // A refusal of an edit says where the memory is frozen, by name, to whoever shared it there.
    let names_where_it_is_frozen = reply.body["code"] == "shared_readonly";
    Call {
        number,
        agent: member.number,
        what: attempt.what,
        is_write: attempt.is_write,
        sent: reply.sent,
        done: reply.done,
        status: reply.status.filter(|status| *status < 500),
        shows: reply.text.contains(CIRCLE) && !names_where_it_is_frozen,
        is_hit: reply.layer != Layer::None,
    }
}
