//! A steady load: callers who write, ask the same thing again and ask new things, on one instance after the other,
//! and who know what every answer has to be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::Client;

/// Between two recalls of one caller.
const PAUSE: Duration = Duration::from_millis(50);
/// So that things asked again and again are hits in between.
const TURNS_PER_WRITE: usize = 12;

/// A recall that was answered, and rightly.
#[derive(Debug, Clone)]
pub struct Sample {
    pub took: Duration,
    /// The header `Cairn-Cache`.
    pub source: String,
}

#[derive(Default)]
struct Samples(Mutex<Vec<Sample>>);

/// Goes on until it is stopped. A failed request or an old answer ends it, and the test with it.
pub struct Load {
    callers: JoinSet<()>,
    samples: Arc<Samples>,
}

impl Load {
    /// `use_of_cache`: as in the request, `use` or `refresh`.
    pub fn start(count: usize, instances: &[Client], use_of_cache: &'static str) -> Self {
        let samples = Arc::<Samples>::default();
        let mut callers = JoinSet::new();
        for first in 0..count {
            let agent = format!("{use_of_cache}-{first}");
            let caller = Caller { instances: instances.to_vec(), first, agent, use_of_cache, known: BTreeMap::new() };
            callers.spawn(caller.go_on(samples.clone()));
        }
        Self { callers, samples }
    }

    /// What was answered since the last time.
    pub fn take(&mut self) -> Vec<Sample> {
        if let Some(ended) = self.callers.try_join_next() {
            ended.expect("every answer is right");
        }
        std::mem::take(&mut *self.samples.0.lock().expect("not poisoned"))
    }
}

struct Caller {
    instances: Vec<Client>,
    /// The instance it turns to first.
    first: usize,
    agent: String,
    use_of_cache: &'static str,
    /// What the agent remembers: ids and contents.
    known: BTreeMap<String, String>,
}

impl Caller {
    async fn go_on(mut self, samples: Arc<Samples>) {
        for turn in 0.. {
            if turn % TURNS_PER_WRITE == 0 {
                self.write(turn).await;
            }
            // Not the instance that was just written to.
            let question = if turn % 2 == 0 { format!("Which stones are there? {turn}") } else { "Stones?".to_owned() };
            let sample = self.ask(self.instance(turn + 1), &question).await;
            samples.0.lock().expect("not poisoned").push(sample);
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn instance(&self, turn: usize) -> &Client {
        &self.instances[(self.first + turn) % self.instances.len()]
    }

    /// Remembers twice, edits, forgets, and so on.
    async fn write(&mut self, turn: usize) {
        let instance = self.instance(turn).clone();
        let content = format!("Stone {turn} of {}.", self.agent);
        let path = |id: &str| format!("/v1/memories/{id}");
        let oldest = self.known.keys().next().cloned();
        match (turn / TURNS_PER_WRITE % 4, oldest) {
            (2, Some(id)) => {
                instance.patch(&path(&id), json!({ "content": content })).await.expect(200);
                self.known.insert(id, content);
            }
            (3, Some(id)) => {
                instance.delete(&path(&id)).await.expect(204);
                self.known.remove(&id);
            }
            _ => {
                let memory = instance.remember(&self.agent, &content).await;
                self.known.insert(memory["id"].as_str().expect("an id").to_owned(), content);
            }
        }
    }

    async fn ask(&self, instance: &Client, question: &str) -> Sample {
        let body = json!({"query": question, "k": 100, "cache": self.use_of_cache});
        let path = format!("/v1/agents/{}/recall", self.agent);
        let started = Instant::now();
        let response = instance.request(Method::POST, &path).json(&body).send().await.expect("the server answers");
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.expect("a whole answer");
        let took = started.elapsed();
        let source = headers.get("cairn-cache").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        assert_eq!(status, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        let found = answer["results"].as_array().expect("results").iter().map(|result| {
            let text = |name: &str| result["memory"][name].as_str().expect("text").to_owned();
            (text("id"), text("content"))
        });
        assert_eq!(found.collect::<BTreeMap<_, _>>(), self.known, "{source}: not what {} remembers", self.agent);
        Sample { took, source }
    }
}

/// So many of a hundred took no longer.
pub fn percentile(samples: &[Sample], percent: usize) -> Duration {
    assert!(!samples.is_empty(), "nothing was asked");
    let mut times: Vec<Duration> = samples.iter().map(|sample| sample.took).collect();
    times.sort_unstable();
    times[(times.len() * percent).div_ceil(100).saturating_sub(1)]
}
