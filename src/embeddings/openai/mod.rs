//! Any endpoint that speaks OpenAI's `/embeddings`: texts are split into windows and calls, and each
//! call is tried until it succeeds, its deadline comes near, or trying again would do harm.
//!
//! What comes back is checked before anyone sees it, and nothing that is said of a failure holds the
//! key or the words of the provider.

mod health;
mod lane;
mod split;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rand::RngExt;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::Instrument;

use self::health::Health;
use self::lane::{Lane, Lanes};
use self::split::{CallSize, windows};
use self::wire::{Call, Wire};
use super::metrics::Metrics;
use super::{ProviderState, Windows, unavailable};
use crate::config::Embeddings;
use crate::error::{Code, Error, Result};
use crate::ids::TenantId;
use crate::telemetry::call_span;

/// How often a call is sent at most.
const TRIES: u32 = 3;
/// Before the second try up to this long, before the third up to twice as long: full jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The largest answer that is asked for; more inputs than have room in it are split over calls.
const ANSWER_BYTES: usize = 32 * 1024 * 1024;

pub struct OpenAi {
    client: Arc<Client>,
    /// Connections live here and not on the runtime of whoever calls first.
    runtime: Handle,
}

struct Client {
    wire: Wire,
    lanes: Arc<Lanes>,
    size: CallSize,
    window_bytes: usize,
    health: Health,
    metrics: Metrics,
}

impl OpenAi {
    /// Calls nobody: a provider that is down now may be up when it is needed.
    pub fn start(settings: &Embeddings, dims: usize, metrics: Metrics) -> anyhow::Result<Self> {
        let lanes = Arc::new(Lanes::new(settings));
        let client = Client {
            wire: Wire::new(settings, dims)?,
            size: CallSize::new(settings, Wire::vector_bytes(dims), ANSWER_BYTES),
            window_bytes: settings.max_input_tokens,
            health: Health::new(lanes.clone()),
            metrics,
            lanes,
        };
        let runtime = Handle::try_current().context("the openai provider needs a runtime")?;
        Ok(Self { client: Arc::new(client), runtime })
    }

    /// The windows of each text, in order. A caller that goes away ends its calls.
    pub async fn embed(&self, tenant: TenantId, texts: Vec<String>, patience: Duration) -> Result<Vec<Windows>> {
        let (client, deadline) = (self.client.clone(), Deadline::after(patience));
        let mut task = JoinSet::new();
        let work = async move { client.embed(tenant, &texts, deadline).await };
        task.spawn_on(work.in_current_span(), &self.runtime);
        match task.join_next().await {
            Some(Ok(embedded)) => embedded.map_err(Error::from),
            ended => Err(unavailable(anyhow!("embedding ended early: {ended:?}"))),
        }
    }

    pub fn state(&self) -> ProviderState {
        self.client.health.state()
    }

    /// How many tenants' calls are kept back, whenever it is asked.
    pub fn kept_back(&self) -> impl Fn() -> f64 + Send + Sync + use<> {
        let lanes = self.client.lanes.clone();
        move || lanes.open() as f64
    }
}

impl Client {
    async fn embed(&self, tenant: TenantId, texts: &[String], deadline: Deadline) -> Result<Vec<Windows>, Failure> {
        let lane = self.lanes.of(tenant);
        let texts: Vec<Vec<&str>> = texts.iter().map(|text| windows(text, self.window_bytes)).collect();
        let inputs: Vec<&str> = texts.iter().flatten().copied().collect();
        let calls = self.size.split(&inputs).into_iter().map(|inputs_of_call| self.wire.call(&inputs[inputs_of_call]));
        let calls = calls.collect::<Result<Vec<Call>, Failure>>()?;
        let vectors = calls.iter().map(|call| self.call(&lane, call, deadline));
        let mut vectors = futures_util::future::try_join_all(vectors).await?.into_iter().flatten();
        Ok(texts.iter().map(|windows| vectors.by_ref().take(windows.len()).collect()).collect())
    }

    /// Tries again only what may pass, within the deadline and the retry budget.
    async fn call(&self, lane: &Lane, call: &Call, deadline: Deadline) -> Result<Vec<Vec<f32>>, Failure> {
        lane.earn_retry();
        let mut tries = 1;
        loop {
            let outcome = self.try_once(lane, call, deadline).await;
            let Err(Failure::Passing { wait, .. }) = &outcome else {
                return outcome;
            };
            let pause = pause(tries, *wait);
            if tries == TRIES || Instant::now() + pause >= deadline.at || !lane.spend_retry() {
                return outcome;
            }
            sleep(pause).await;
            self.metrics.retried();
            tries += 1;
        }
    }

    async fn try_once(&self, lane: &Lane, call: &Call, deadline: Deadline) -> Result<Vec<Vec<f32>>, Failure> {
        let ticket = lane.enter(deadline).await?;
        let began = Instant::now();
        let outcome = timeout_at(deadline.at, self.wire.send(call)).instrument(call_span("embeddings")).await;
        let outcome = outcome.unwrap_or_else(|_| Err(deadline.missed(began)));
        ticket.settle(&outcome);
        self.metrics.called(self.health.called(&outcome), began.elapsed());
        outcome
    }
}

/// Never sooner than the provider asks.
fn pause(tries: u32, wait: Option<Duration>) -> Duration {
    wait.unwrap_or_default() + (FIRST_PAUSE * tries).mul_f64(rand::rng().random())
}

/// Until when a caller waits.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Instant,
    whole: Duration,
}

impl Deadline {
    fn after(whole: Duration) -> Self {
        Self { at: Instant::now() + whole, whole }
    }

    /// Says of a call that did not end in time whether it had a fair chance: half of the time there was.
    fn missed(&self, began: Instant) -> Failure {
        let cause = anyhow!("the provider did not answer within {:?}", self.whole);
        let chance = self.at.saturating_duration_since(began);
        if chance * 2 <= self.whole { Failure::Hurried(cause) } else { Failure::Lasting(cause) }
    }
}

/// Why a call came to nothing.
#[derive(Debug)]
enum Failure {
    /// Another try may help, after this long if the provider says so.
    Passing { cause: anyhow::Error, wait: Option<Duration> },
    /// Another try would not help.
    Lasting(anyhow::Error),
    /// The time was up so soon that nothing follows for the provider.
    Hurried(anyhow::Error),
    /// The model does not take in a text as long as this.
    TooLong,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Passing { cause, .. } | Failure::Lasting(cause) | Failure::Hurried(cause) => unavailable(cause),
            Failure::TooLong => Error::refused(
                Code::ContentTooLarge,
                "a text is longer than the embedding model takes in; send a shorter one",
            ),
        }
    }
}
