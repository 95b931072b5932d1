//! Text to vectors. `Embedder` stands in front of a closed set of providers: models that compute
//! in threads of this process, and endpoints that are called. It owns their deadlines and the
//! checks of what they return. A cache stands in front of all of it.

mod cached;
mod hashed;
mod local;
mod metrics;
mod openai;
mod workers;

use std::time::Duration;

use anyhow::{Context, anyhow};
use half::f16;
use prometheus::core::Collector;

use crate::cache::{Cache, Owner};
use crate::config::{Config, Embeddings, ProviderName};
use crate::error::{Code, Error, Result};
use crate::ids::TenantId;
use crate::rates::Rates;
use crate::turns::Haste;
use hashed::Hashed;
use metrics::Metrics;
use openai::OpenAi;
use workers::Workers;

pub use cached::{Packed, Task, TextHash};
pub use local::LocalModel;

/// The form of the text that features hand over ("[date] speaker: content"). Vectors of different
/// forms do not compare, so it is part of what pins a tenant.
const TEXT_FORM: u32 = 1;

/// The windows of one text, each a unit vector.
pub type Windows = Vec<Vec<f32>>;

/// Texts handed to one worker at a time: small enough that a query need not wait long behind a batch.
const TEXTS_A_JOB: usize = 8;

const HASHED_DIMS: usize = 384;

/// What computes in this process.
enum Model {
    Local(Box<LocalModel>),
    Hashed(Hashed),
}

impl Model {
    fn embed(&self, texts: &[String]) -> anyhow::Result<Vec<Windows>> {
        match self {
            Self::Local(model) => model.embed(&texts.iter().map(String::as_str).collect::<Vec<_>>()),
            Self::Hashed(hashed) => Ok(texts.iter().map(|text| hashed.embed(text)).collect()),
        }
    }

    fn dims(&self) -> usize {
        match self {
            Self::Local(model) => model.dims(),
            Self::Hashed(hashed) => hashed.dims(),
        }
    }
}

enum Provider {
    Here(Workers),
    OpenAi(OpenAi),
}

/// What readiness reports of the provider.
pub struct ProviderState {
    pub ok: bool,
    pub detail: String,
}

/// How long each kind of caller is willing to wait.
struct Deadlines {
    query: Duration,
    one: Duration,
    batch: Duration,
}

pub struct Embedder {
    /// This and the next: none for those who embed without a server.
    cache: Option<Cache>,
    rates: Option<Rates>,
    provider: Provider,
    metrics: Metrics,
    pin: String,
    dims: usize,
    semantic: bool,
    deadlines: Deadlines,
}

impl Embedder {
    /// Loads what computes here and embeds one text, so that the first caller does not pay for a cold
    /// start. An endpoint is not called: it may be down when the server starts.
    pub fn start(config: &Config) -> anyhow::Result<Self> {
        let settings = &config.embeddings;
        let metrics = Metrics::new(settings.provider)?;
        let (provider, name, dims) = match settings.provider {
            ProviderName::Local => {
                let (model, name) = local(config)?;
                here(Model::Local(Box::new(model)), name, settings)?
            }
            ProviderName::Hashed => {
                let hashed = Hashed::new(settings.dimensions.unwrap_or(HASHED_DIMS));
                here(Model::Hashed(hashed), "hashed@2".into(), settings)?
            }
            ProviderName::OpenAi => openai(settings, metrics.clone())?,
        };
        Ok(Self {
            cache: None,
            rates: None,
            provider,
            metrics,
            pin: format!("{name}/{dims}/text{TEXT_FORM}"),
            dims,
            semantic: settings.provider != ProviderName::Hashed,
            deadlines: Deadlines {
                query: Duration::from_millis(settings.query_deadline_ms),
                one: Duration::from_secs(settings.deadline_secs),
                batch: Duration::from_secs(settings.batch_deadline_secs),
            },
        })
    }

    /// The same, asking this cache first, and letting nobody embed more than it may.
    pub fn behind(mut self, cache: Cache, rates: Rates) -> Self {
        (self.cache, self.rates) = (Some(cache), Some(rates));
        self
    }

    /// Model, revision, dimensions and text form: what a tenant's vectors were made with.
    pub fn pin(&self) -> &str {
        &self.pin
    }

    pub fn dims(&self) -> usize {
        self.dims
    }

    /// False for the provider that is made for tests and knows nothing about meaning.
    pub fn is_semantic(&self) -> bool {
        self.semantic
    }

    /// How the provider does; a model in this process always does well.
    pub fn provider_state(&self) -> ProviderState {
        match &self.provider {
            Provider::Here(_) => ProviderState { ok: true, detail: "in this process".into() },
            Provider::OpenAi(openai) => openai.state(),
        }
    }

    /// What it counts about itself.
    pub fn collectors(&self) -> anyhow::Result<Vec<Box<dyn Collector>>> {
        Ok(match &self.provider {
            Provider::Here(_) => self.metrics.collectors(|| 0.0)?,
            Provider::OpenAi(openai) => self.metrics.collectors(openai.kept_back())?,
        })
    }

    /// The windows of each text, in order. The tenant is who bears what its texts do to a provider.
    pub async fn embed_texts(&self, owner: &Owner, texts: Vec<String>) -> Result<Vec<Windows>> {
        let deadline = if texts.len() > 1 { self.deadlines.batch } else { self.deadlines.one };
        self.look_up(owner, Task::Document, texts, deadline).await
    }

    /// One vector for a query; the windows of a long one are averaged.
    pub async fn embed_query(&self, owner: &Owner, query: &str) -> Result<Vec<f32>> {
        let windows = self.look_up(owner, Task::Query, vec![query.to_owned()], self.deadlines.query).await?;
        let windows = windows.into_iter().next().unwrap_or_default();
        mean(windows).ok_or_else(|| unavailable(anyhow!("the provider returned no vector")))
    }

    /// Asks the provider, if the owner's budget allows it.
    async fn run(&self, owner: &Owner, texts: Vec<String>, deadline: Duration) -> Result<Vec<Windows>> {
        let (wanted, tenant) = (texts.len(), owner.tenant);
        if let Some(rates) = &self.rates {
            rates.charge(&owner.budget, texts.iter().map(|text| u64::from(tokens(text))).sum()).await?;
        }
        self.metrics.handed(wanted);
        let mut all = match &self.provider {
            Provider::Here(workers) => {
                let computed = async { compute(workers, tenant, texts, deadline).await.map_err(unavailable) };
                self.metrics.during(computed).await?
            }
            Provider::OpenAi(openai) => openai.embed(tenant, texts, deadline).await?,
        };
        self.check(wanted, &all).map_err(unavailable)?;
        // As precise as they are stored and cached, so that it makes no difference where a vector comes from.
        all.iter_mut().flatten().flatten().for_each(|x| *x = f16::from_f32(*x).to_f32());
        Ok(all)
    }

    /// A bad vector would be written to Postgres for good.
    fn check(&self, wanted: usize, all: &[Windows]) -> anyhow::Result<()> {
        anyhow::ensure!(all.len() == wanted, "the provider returned {} results for {wanted} texts", all.len());
        for vector in all.iter().flatten() {
            anyhow::ensure!(
                vector.len() == self.dims,
                "the provider returned {} dimensions, not {}",
                vector.len(),
                self.dims
            );
            let norm = norm(vector);
            anyhow::ensure!((norm - 1.0).abs() < 1e-3, "the provider returned a vector of length {norm}");
        }
        anyhow::ensure!(all.iter().all(|windows| !windows.is_empty()), "the provider returned a text without a vector");
        Ok(())
    }
}

fn local(config: &Config) -> anyhow::Result<(LocalModel, String)> {
    let folder = config.model_dir();
    let model = LocalModel::load(&folder).with_context(|| {
        format!(
            "loading the embedding model from {} (run `make runtime`, set CAIRN_EMBEDDINGS__MODEL to a folder in Hugging Face layout, or set CAIRN_EMBEDDINGS__PROVIDER=hashed for tests)",
            folder.display()
        )
    })?;
    let name = folder.file_name().map_or_else(|| "local".into(), |name| name.to_string_lossy().into_owned());
    let name = format!("{name}@{}", &model.revision()[..16]);
    Ok((model, name))
}

fn here(model: Model, name: String, settings: &Embeddings) -> anyhow::Result<(Provider, String, usize)> {
    let dims = model.dims();
    model.embed(&["A first stone.".to_owned()]).context("warming the embedding model")?;
    Ok((Provider::Here(Workers::start(model, threads(settings.threads))?), name, dims))
}

/// The name of the model is all that is known of it: the same one elsewhere counts as the same.
fn openai(settings: &Embeddings, metrics: Metrics) -> anyhow::Result<(Provider, String, usize)> {
    let model = settings.model.as_deref().context("configuration: setting embeddings.model: must name a model")?;
    let dims = settings.dimensions.context("configuration: setting embeddings.dimensions: must be set")?;
    Ok((Provider::OpenAi(OpenAi::start(settings, dims, metrics)?), format!("{model}@openai"), dims))
}

async fn compute(
    workers: &Workers,
    tenant: TenantId,
    texts: Vec<String>,
    deadline: Duration,
) -> anyhow::Result<Vec<Windows>> {
    let wanted = texts.len();
    let haste = if wanted > 1 { Haste::Bulk } else { Haste::Query };
    let jobs = texts.chunks(TEXTS_A_JOB).map(|chunk| workers.embed(tenant, haste, chunk.to_vec()));
    let embedded = tokio::time::timeout(deadline, futures_util::future::try_join_all(jobs))
        .await
        .map_err(|_| anyhow!("embedding {wanted} text(s) took longer than {deadline:?}"))??;
    Ok(embedded.into_iter().flatten().collect())
}

fn unavailable(cause: anyhow::Error) -> Error {
    Error::unavailable(Code::EmbeddingUnavailable, "the text could not be embedded; try again", cause)
}

fn threads(wanted: usize) -> usize {
    if wanted > 0 {
        return wanted;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).max(1)
}

fn norm(vector: &[f32]) -> f32 {
    vector.iter().map(|x| x * x).sum::<f32>().sqrt()
}

/// A token is taken as four bytes, as everywhere.
fn tokens(text: &str) -> u32 {
    text.len().div_ceil(4).try_into().unwrap_or(u32::MAX)
}

/// The mean of unit vectors, a unit vector again.
fn mean(windows: Windows) -> Option<Vec<f32>> {
    let mut windows = windows.into_iter();
    let mut sum = windows.next()?;
    for window in windows {
        sum.iter_mut().zip(window).for_each(|(total, x)| *total += x);
    }
    let norm = norm(&sum);
    if norm > 0.0 {
        sum.iter_mut().for_each(|x| *x /= norm);
    }
    Some(sum)
}
