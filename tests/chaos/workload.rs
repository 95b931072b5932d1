//! The callers together: how many, with which habits, and what they know of each other.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;

use crate::caller::{Caller, Glimpse};
use crate::history::History;
use crate::site::Site;
use crate::writer::Writer;

/// Callers that share an agent.
pub const GROUP: usize = 8;

/// What a caller does with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// A bit of everything, each write followed by a look at all servers.
    Mixed,
    /// Two of a group edit without a pause, for one agent; the others ask one server the same all the time.
    Crowd,
}

/// What all callers know.
pub struct Load {
    pub habit: Habit,
    pub over: AtomicBool,
    pub numbers: AtomicU32,
    /// What the others have written lately, by group.
    pub boards: Vec<Mutex<VecDeque<Glimpse>>>,
}

pub struct Callers {
    pub count: usize,
    pub seed: u64,
    pub habit: Habit,
}

/// Callers at work until they are told to stop.
pub async fn run(site: &Site, history: &Arc<History>, callers: &Callers, over: impl Future<Output = ()>) {
    let Callers { count, seed, habit } = *callers;
    let boards = (0..count.div_ceil(GROUP)).map(|_| Mutex::default()).collect();
    let load = Arc::new(Load { habit, over: false.into(), numbers: 1.into(), boards });
    let mut writers = JoinSet::new();
    for number in 0..count {
        let caller = Caller::new(site.urls(), site.key.clone(), history.clone());
        let dice = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
        writers.spawn(Writer::new(number, caller, load.clone(), dice).work());
    }
    over.await;
    load.over.store(true, Ordering::Relaxed);
    while let Some(ended) = writers.join_next().await {
        ended.expect("no caller panics");
    }
}
