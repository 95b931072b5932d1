//! What callers do: write what nobody else writes, look at once whether every server shows it, look at each other's.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::{Caller, Glimpse, content, tag};
use crate::history::{Outcome, State, Subject};
use crate::site::INSTANCES;
use crate::workload::{GROUP, Habit, Load};

/// Memories that a caller keeps before it forgets more than it writes.
const KEPT: usize = 12;

/// Memories that an agent gets before its callers turn to a new one: large scopes take long to search.
const AGENT_MEMORIES: u32 = 100;

/// A memory whose only writer this is.
#[derive(Clone)]
struct Owned {
    glimpse: Glimpse,
    version: u32,
    id: String,
    /// Replaced by its key instead of its id.
    key: Option<String>,
}

pub struct Writer {
    number: usize,
    caller: Caller,
    load: Arc<Load>,
    dice: StdRng,
    owned: Vec<Owned>,
    written: u32,
}

impl Writer {
    pub fn new(number: usize, caller: Caller, load: Arc<Load>, dice: StdRng) -> Self {
        Self { number, caller, load, dice, owned: Vec::new(), written: 0 }
    }

    pub async fn work(mut self) {
        while !self.load.over.load(Ordering::Relaxed) {
            match self.load.habit {
                Habit::Mixed => self.mix().await,
                Habit::Crowd if !self.number.is_multiple_of(4) => self.look_at_first().await,
                Habit::Crowd if self.owned.is_empty() => self.create().await,
                Habit::Crowd => self.edit().await,
            }
            // Whoever is refused does not ask again at once.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn mix(&mut self) {
        let creates = if self.owned.len() > KEPT { 0 } else { 20 };
        match self.dice.random_range(0..100) {
            roll if roll < creates => self.create().await,
            ..35 => self.edit().await,
            35..47 => self.forget().await,
            47..49 => self.revoke().await,
            49 => self.flush().await,
            _ => self.look_around().await,
        }
    }

    fn group(&self) -> usize {
        self.number / GROUP
    }

    fn instance(&mut self) -> usize {
        self.dice.random_range(0..INSTANCES)
    }

    fn number(&self) -> u32 {
        self.load.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Its own, or one that its group shares.
    fn agent(&mut self) -> String {
        self.written += 1;
        let generation = self.written / AGENT_MEMORIES;
        match self.load.habit == Habit::Mixed && self.dice.random_bool(0.7) {
            true => format!("caller-{}-{generation}", self.number),
            false => format!("group-{}-{generation}", self.group()),
        }
    }

    async fn create(&mut self) {
        let agent = self.agent();
        let count = if self.dice.random_bool(0.2) { 3 } else { 1 };
        let keyed = count == 1 && self.dice.random_bool(0.3);
        let new = |number: u32| Owned {
            glimpse: Glimpse { agent: agent.clone(), number },
            version: 1,
            id: String::new(),
            key: keyed.then(|| format!("key-{number}")),
        };
        let mut created: Vec<Owned> = (0..count).map(|_| new(self.number())).collect();
        let bodies: Vec<Value> = created.iter().map(Owned::body).collect();
        let (path, body) = match &bodies[..] {
            [one] => (format!("/agents/{agent}/remember"), one.clone()),
            all => (format!("/agents/{agent}/remember/batch"), json!({"memories": all})),
        };
        let instance = self.instance();
        let reply = self.caller.call(instance, Method::POST, &path, body, None).await;
        let writes: Vec<_> = created.iter().map(Owned::write).collect();
        if self.caller.wrote(instance, &reply, &writes) == Outcome::Acknowledged {
            for (index, owned) in created.iter_mut().enumerate() {
                let memory = if count == 1 { &reply.body } else { &reply.body["items"][index]["memory"] };
                owned.id = memory["id"].as_str().unwrap_or_else(|| panic!("no id: {}", reply.body)).to_owned();
            }
            for owned in created {
                self.look_everywhere(&owned.glimpse).await;
                self.show(&owned.glimpse);
                self.owned.push(owned);
            }
        }
    }

    /// Takes one of its memories: it comes back unless it is unknown what became of it.
    fn take(&mut self) -> Option<Owned> {
        (!self.owned.is_empty()).then(|| self.owned.swap_remove(self.dice.random_range(0..self.owned.len())))
    }

    async fn edit(&mut self) {
        let Some(before) = self.take() else { return };
        // Others look while it changes.
        self.show(&before.glimpse);
        let instance = self.instance();
        let after = Owned { version: before.version + 1, ..before.clone() };
        let reply = if after.key.is_some() {
            let path = format!("/agents/{}/remember", after.glimpse.agent);
            self.caller.call(instance, Method::POST, &path, after.body(), None).await
        } else {
            let body = json!({"content": content(after.glimpse.number, after.version)});
            self.caller.call(instance, Method::PATCH, &format!("/memories/{}", after.id), body, None).await
        };
        match self.caller.wrote(instance, &reply, &[after.write()]) {
            Outcome::Acknowledged => {
                self.look_everywhere(&after.glimpse).await;
                self.owned.push(after);
            }
            Outcome::Refused => self.owned.push(before),
            Outcome::Unknown => {}
        }
    }

    async fn forget(&mut self) {
        let Some(owned) = self.take() else { return };
        let instance = self.instance();
        let Glimpse { agent, number } = &owned.glimpse;
        let reply = if self.dice.random_bool(0.5) {
            self.caller.call(instance, Method::DELETE, &format!("/memories/{}", owned.id), Value::Null, None).await
        } else {
            let body = json!({"filter": {"tags_any": [tag(*number)]}});
            self.caller.call(instance, Method::POST, &format!("/agents/{agent}/forget"), body, None).await
        };
        let write = (Subject::Memory(*number), State::Gone);
        match self.caller.wrote(instance, &reply, &[write]) {
            Outcome::Acknowledged => self.look_everywhere(&owned.glimpse).await,
            Outcome::Refused => self.owned.push(owned),
            Outcome::Unknown => {}
        }
    }

    /// A key that is issued, used, revoked, and then of no use anywhere.
    async fn revoke(&mut self) {
        let Some(glimpse) = self.owned.choose(&mut self.dice).map(|owned| owned.glimpse.clone()) else { return };
        let (number, instance) = (self.number(), self.instance());
        let key = Subject::Key(number);
        let body = json!({"name": "chaos", "scopes": ["memories:read"]});
        let reply = self.caller.call(instance, Method::POST, "/keys", body, None).await;
        if self.caller.wrote(instance, &reply, &[(key, State::Version(1))]) != Outcome::Acknowledged {
            return;
        }
        let (id, secret) = (reply.body["id"].as_str().expect("an id"), reply.body["key"].as_str().expect("a key"));
        for other in 0..INSTANCES {
            self.caller.try_key(other, number, secret, &glimpse).await;
        }
        let path = format!("/keys/{id}");
        let reply = self.caller.call(instance, Method::DELETE, &path, Value::Null, None).await;
        self.caller.wrote(instance, &reply, &[(key, State::Gone)]);
        for other in 0..INSTANCES {
            self.caller.try_key(other, number, secret, &glimpse).await;
        }
    }

    async fn flush(&mut self) {
        let instance = self.instance();
        self.caller.call(instance, Method::POST, "/cache/flush", json!({}), None).await;
    }

    /// Whether every server shows what was acknowledged; then once more, from a cache.
    async fn look_everywhere(&mut self, glimpse: &Glimpse) {
        if self.load.habit == Habit::Crowd {
            return self.caller.recall(self.group() % INSTANCES, glimpse, 1).await;
        }
        let question = self.question(glimpse);
        let first = self.instance();
        for instance in (first..first + INSTANCES).map(|instance| instance % INSTANCES) {
            self.caller.recall(instance, glimpse, question).await;
        }
        self.caller.recall(first, glimpse, question).await;
    }

    /// What another one of the group has written, at two servers and from two caches.
    async fn look_around(&mut self) {
        let board = &self.load.boards[self.group()];
        let shown: Vec<Glimpse> = board.lock().expect("not poisoned").iter().cloned().collect();
        let newest = self.dice.random_bool(0.5).then(|| shown.last()).flatten();
        let Some(glimpse) = newest.or_else(|| shown.choose(&mut self.dice)) else { return };
        let question = self.question(glimpse);
        for _ in 0..4 {
            let instance = self.instance();
            self.caller.recall(instance, glimpse, question).await;
        }
    }

    /// The memory and the server that the whole group looks at.
    async fn look_at_first(&mut self) {
        let board = &self.load.boards[self.group()];
        let first = board.lock().expect("not poisoned").iter().min_by_key(|shown| shown.number).cloned();
        if let Some(glimpse) = first {
            self.caller.recall(self.group() % INSTANCES, &glimpse, 1).await;
        }
    }

    /// Mostly the one that everybody asks about it.
    fn question(&mut self, glimpse: &Glimpse) -> u32 {
        if self.dice.random_bool(0.8) { 1 + glimpse.number % 7 } else { self.dice.random_range(0..8) }
    }

    fn show(&self, glimpse: &Glimpse) {
        let mut board = self.load.boards[self.group()].lock().expect("not poisoned");
        board.push_back(glimpse.clone());
        if board.len() > 3 * KEPT {
            board.pop_front();
        }
    }
}

impl Owned {
    fn body(&self) -> Value {
        let Glimpse { number, .. } = self.glimpse;
        let mut body = json!({"content": content(number, self.version), "tags": [tag(number)]});
        if let Some(key) = &self.key {
            body["key"] = json!(key);
        }
        body
    }

    fn write(&self) -> (Subject, State) {
        (Subject::Memory(self.glimpse.number), State::Version(self.version))
    }
}
