//! Lines that wait for their turn: grouped by agent, in order, one batch of an agent at a time.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::cli::import::lines::Place;
use crate::ids::ExternalId;

/// What may wait in memory while other agents' batches fill.
const MAX_WAITING: usize = 10_000;
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// The server takes 4 MiB.
const MAX_BATCH_BYTES: usize = 3 * 1024 * 1024;

/// A memory as JSON, and where it stands in the file.
#[derive(Debug)]
pub struct Item {
    pub place: Place,
    pub key: Option<String>,
    pub json: String,
}

pub struct Batch {
    pub agent: ExternalId,
    pub items: Vec<Item>,
}

pub struct Queue {
    batch: usize,
    waiting: HashMap<ExternalId, VecDeque<Item>>,
    /// Agents with a full batch, each once.
    ready: VecDeque<ExternalId>,
    busy: HashSet<ExternalId>,
    items: usize,
    bytes: usize,
}

impl Queue {
    /// `batch` is how many memories go together.
    pub fn new(batch: usize) -> Self {
        Self { batch, waiting: HashMap::new(), ready: VecDeque::new(), busy: HashSet::new(), items: 0, bytes: 0 }
    }

    pub fn push(&mut self, agent: ExternalId, item: Item) {
        self.items += 1;
        self.bytes += item.json.len();
        let waiting = self.waiting.entry(agent.clone()).or_default();
        waiting.push_back(item);
        if waiting.len() == self.batch && !self.busy.contains(&agent) {
            self.ready.push_back(agent);
        }
    }

    pub fn is_full(&self) -> bool {
        self.items >= MAX_WAITING || self.bytes >= MAX_WAITING_BYTES
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// A full batch; with `any` also the longest of the others. Its agent gets no other until it is `done`.
    pub fn take(&mut self, any: bool) -> Option<Batch> {
        let agent = match self.ready.pop_front() {
            Some(agent) => agent,
            None if any => self.longest()?,
            None => return None,
        };
        let waiting = self.waiting.get_mut(&agent)?;
        let items = cut(waiting, self.batch);
        if waiting.is_empty() {
            self.waiting.remove(&agent);
        }
        self.items -= items.len();
        self.bytes -= items.iter().map(|item| item.json.len()).sum::<usize>();
        self.busy.insert(agent.clone());
        Some(Batch { agent, items })
    }

    pub fn done(&mut self, agent: &ExternalId) {
        self.busy.remove(agent);
        if self.waiting.get(agent).is_some_and(|waiting| waiting.len() >= self.batch) {
            self.ready.push_back(agent.clone());
        }
    }

    fn longest(&self) -> Option<ExternalId> {
        let free = self.waiting.iter().filter(|(agent, _)| !self.busy.contains(*agent));
        free.max_by_key(|(_, items)| items.len()).map(|(agent, _)| agent.clone())
    }
}

/// As many as fit; a key that comes again waits for the next batch, since a batch may hold it once.
fn cut(waiting: &mut VecDeque<Item>, most: usize) -> Vec<Item> {
    let (mut keys, mut bytes) = (HashSet::new(), 0);
    let fits = |item: &&Item| {
        bytes += item.json.len();
        bytes <= MAX_BATCH_BYTES && item.key.as_ref().is_none_or(|key| keys.insert(key.clone()))
    };
    let count = waiting.iter().take(most).take_while(fits).count();
    waiting.drain(..count.max(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(id: &str) -> ExternalId {
        ExternalId::parse(id).expect("an id")
    }

    fn push(queue: &mut Queue, id: &str, line: u64, key: &str) {
        let item = Item { place: Place { line, byte: 0 }, key: Some(key.into()), json: "{}".into() };
        queue.push(agent(id), item);
    }

    fn lines(batch: &Batch) -> Vec<u64> {
        batch.items.iter().map(|item| item.place.line).collect()
    }

    #[test]
    fn an_agent_has_one_batch_on_its_way_and_keeps_its_order() {
        let mut queue = Queue::new(2);
        for line in 1..=5 {
            push(&mut queue, "ada", line, &line.to_string());
        }
        push(&mut queue, "bob", 6, "6");
        assert_eq!(lines(&queue.take(false).expect("a full batch")), [1, 2]);
        assert!(queue.take(false).is_none(), "ada is busy and bob has no full batch");
        assert_eq!(lines(&queue.take(true).expect("what bob has")), [6]);
        assert!(queue.take(true).is_none());
        queue.done(&agent("ada"));
        assert_eq!(lines(&queue.take(false).expect("a full batch")), [3, 4]);
        queue.done(&agent("ada"));
        assert_eq!(lines(&queue.take(true).expect("the rest")), [5]);
    }

    #[test]
    fn a_key_stands_once_in_a_batch() {
        let mut queue = Queue::new(3);
        for (line, key) in [(1, "a"), (2, "b"), (3, "a")] {
            push(&mut queue, "ada", line, key);
        }
        assert_eq!(lines(&queue.take(false).expect("a full batch")), [1, 2]);
        queue.done(&agent("ada"));
        assert_eq!(lines(&queue.take(true).expect("the rest")), [3]);
    }
}
