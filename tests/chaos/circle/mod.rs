//! Promise P2 while everything breaks: owners remove members of a circle and add them again, at any server, and these
//! ask all the while for what is the circle's. What a former member got, or changed, is judged afterwards.

mod actors;
mod found;
mod outcome;
mod stage;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::JoinSet;

use crate::circle::actors::{ask_on, manage};
use crate::circle::found::{OWNERS, found, new_member};
pub use crate::circle::outcome::Outcome;
use crate::circle::stage::Stage;
use crate::history::History;
use crate::site::Site;

/// Leaks that are enough to see.
const PLENTY: usize = 100;

/// A circle whose owners and members are at work.
pub struct Circle {
    stage: Arc<Stage>,
    actors: JoinSet<()>,
}

impl Circle {
    pub async fn start(site: &Site, history: &Arc<History>, members: usize, seed: u64) -> Self {
        let stage = Arc::new(Stage::new(site, history));
        found(&stage).await;
        let mut all = Vec::new();
        for number in 0..members {
            all.push(Arc::new(new_member(&stage, number).await));
        }
        let mut actors = JoinSet::new();
        for (number, owner) in OWNERS.into_iter().enumerate() {
            let own = all.iter().skip(number).step_by(OWNERS.len()).cloned().collect();
            actors.spawn(manage(stage.clone(), owner.to_owned(), own));
        }
        for member in all {
            actors.spawn(ask_on(stage.clone(), member, seed));
        }
        Self { stage, actors }
    }

    /// Whether former members were shown so much that whatever else goes wrong has had the time to.
    pub fn leaks_plenty(&self) -> bool {
        self.stage.authority.verdict().leaked.len() >= PLENTY
    }

    /// Everybody stops; what it all came to.
    pub async fn end(mut self) -> Outcome {
        self.stage.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.actors.join_next().await {
            ended.expect("nobody of the circle panics");
        }
        Outcome::of(&self.stage).await
    }
}
