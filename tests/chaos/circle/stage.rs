//! What owners and members share: the way to the servers, the clock, and the record of who might do what.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::caller::{Caller, Reply};
use crate::history::{History, Subject};
use crate::site::{INSTANCES, Site};
use crate::support::attempts::Attempt;
use crate::support::authority::{Authority, Turn};

/// The name of the circle, which is in all that is its own.
pub const CIRCLE: &str = "heron";

pub struct Stage {
    caller: Caller,
    history: Arc<History>,
    numbers: AtomicUsize,
    /// How often what is insisted on had to be sent again.
    pub repeats: AtomicUsize,
    pub authority: Authority,
    pub over: AtomicBool,
    pub began: Duration,
}

/// Who asks.
#[derive(Debug, Clone)]
pub enum Voice {
    /// The tenant itself.
    BackEnd,
    /// The tenant, for an agent that it names.
    For(String),
    /// An agent with a key of its own.
    Holder(String),
}

/// A request, by whom, and whose right it is about.
pub struct Ask<'a> {
    pub voice: &'a Voice,
    pub right: usize,
    pub attempt: &'a Attempt,
    pub once: Option<String>,
}

impl Stage {
    pub fn new(site: &Site, history: &Arc<History>) -> Self {
        let caller = Caller::new(site.urls(), site.key.clone(), history.clone());
        Self {
            caller,
            history: history.clone(),
            numbers: 1.into(),
            repeats: 0.into(),
            authority: Authority::default(),
            over: false.into(),
            began: history.now(),
        }
    }

    pub fn now(&self) -> Duration {
        self.history.now()
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// A number that nobody else gets.
    pub fn number(&self) -> usize {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub fn turned(&self, right: usize, turn: Turn) {
        self.authority.turned(right, self.now(), turn);
    }

    pub async fn ask(&self, instance: usize, ask: &Ask<'_>) -> Reply {
        let Ask { voice, right, attempt, once } = ask;
        let key = if let Voice::Holder(key) = voice { Some(key.as_str()) } else { None };
        let mut request = self.caller.request(instance, attempt.method.clone(), &attempt.path, key);
        if let Voice::For(agent) = voice {
            request = request.header("cairn-agent", agent);
        }
        if let Some(once) = once {
            request = request.header("idempotency-key", once);
        }
        if !attempt.body.is_null() {
            request = request.json(&attempt.body);
        }
        let reply = self.caller.send(request).await;
        self.caller.failed(Subject::Right(*right), instance, &reply, attempt.is_write);
        reply
    }

    /// Asks one server after the other until it is done. All copies have one key: once one is acknowledged, none that
    /// was lost on the way can take effect any more.
    pub async fn insist(&self, voice: &Voice, right: usize, attempt: &Attempt) -> Reply {
        let first = self.number();
        let once = attempt.is_write.then(|| format!("{} {first}", attempt.what));
        let ask = Ask { voice, right, attempt, once };
        let mut instance = first;
        loop {
            let reply = self.ask(instance % INSTANCES, &ask).await;
            match reply.status {
                Some(200..300) => return reply,
                None | Some(500..) => {}
                Some(409) if reply.body["code"] == "idempotency_in_progress" => {}
                Some(status) => panic!("{status} to {attempt:?}: {}", reply.text),
            }
            instance += 1;
            self.repeats.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub fn request(what: &'static str, method: Method, path: String, body: Value) -> Attempt {
    let is_write = method != Method::GET;
    Attempt { what, method, path, body, is_write, is_repeated: false }
}
