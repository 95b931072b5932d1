//! A second look at the best candidates: a model that reads question and text together says how well they fit. One of
//! a closed set of providers, or none. Whatever goes wrong here is no reason to fail: who asked keeps the order it has.

mod http;
mod local;
mod metrics;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use tokio::time::timeout;

use crate::config::{Config, Rerank, RerankerName};
use crate::ids::TenantId;
use crate::turns::{Full, Haste, Rules, Turns};
use http::Http;

pub use local::CrossEncoder;
pub use metrics::Metrics;

/// Texts scored in one go: small enough that others need not wait long for a turn.
const TEXTS_A_JOB: usize = 8;

enum Provider {
    Local(Local),
    Http(Box<Http>),
}

/// A model in this process, and turns at it, one at a time.
struct Local {
    model: Arc<CrossEncoder>,
    turns: Turns,
}

pub struct Reranker {
    provider: Provider,
    metrics: Metrics,
    deadline: Duration,
    top: usize,
    name: String,
}

impl Reranker {
    /// None if none is asked for. Loads what computes here; an endpoint is not called.
    pub fn start(config: &Config, metrics: Metrics) -> anyhow::Result<Option<Self>> {
        let settings = &config.rerank;
        let provider = match settings.provider {
            RerankerName::None => return Ok(None),
            RerankerName::Local => Provider::Local(Local::start(settings)?),
            RerankerName::Http => Provider::Http(Box::new(Http::new(settings)?)),
        };
        let deadline = Duration::from_millis(settings.deadline_ms);
        let place = settings.model.as_deref().or(settings.url.as_deref()).unwrap_or_default();
        let name = format!("{:?}:{place}:{}", settings.provider, settings.top);
        Ok(Some(Self { provider, metrics, deadline, top: settings.top, name }))
    }

    /// By whom, and how many: what decides the order that answers have.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many candidates it is meant for.
    pub fn top(&self) -> usize {
        self.top
    }

    /// How well each document answers the query: 0 to 1, in their order. The tenant bears what its texts do to a provider.
    pub async fn rerank(&self, tenant: TenantId, query: &str, documents: Vec<String>) -> anyhow::Result<Vec<f32>> {
        if documents.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = documents.len();
        let work = timeout(self.deadline, self.ask(tenant, query, documents));
        self.metrics
            .during(async {
                let scores = work.await.map_err(|_| anyhow!("reranking took longer than {:?}", self.deadline))??;
                ensure!(scores.len() == wanted, "the reranker returned {} scores for {wanted} texts", scores.len());
                ensure!(
                    scores.iter().all(|score| (0.0..=1.0).contains(score)),
                    "the reranker returned no usable score"
                );
                Ok(scores)
            })
            .await
    }

    async fn ask(&self, tenant: TenantId, query: &str, documents: Vec<String>) -> anyhow::Result<Vec<f32>> {
        match &self.provider {
            Provider::Local(local) => local.scores(tenant, query, &documents).await,
            Provider::Http(http) => http.scores(tenant, query, &documents).await,
        }
    }
}

impl Local {
    fn start(settings: &Rerank) -> anyhow::Result<Self> {
        let folder = settings.model.as_deref().context("configuration: setting rerank.model: must be set")?;
        let model = CrossEncoder::load(folder.as_ref())
            .with_context(|| format!("loading the reranker from {folder} (setting rerank.model)"))?;
        let turns = Turns::new(Rules { turns: 1, most_waiting: usize::MAX, ..Rules::default() });
        Ok(Self { model: Arc::new(model), turns })
    }

    async fn scores(&self, tenant: TenantId, query: &str, documents: &[String]) -> anyhow::Result<Vec<f32>> {
        let mut scores = Vec::with_capacity(documents.len());
        for documents in documents.chunks(TEXTS_A_JOB) {
            let turn = self.turns.wait(tenant, Haste::Query).await;
            let turn = turn.map_err(|Full| anyhow!("too many texts wait to be reranked"))?;
            let (model, query, documents) = (self.model.clone(), query.to_owned(), documents.to_vec());
            let job = tokio::task::spawn_blocking(move || {
                // Kept until the work is done, even if nobody waits for it any more.
                let _turn = turn;
                model.scores(&query, &documents)
            });
            scores.extend(job.await.context("reranking ended early")??);
        }
        Ok(scores)
    }
}

/// From a model's own scale to 0 to 1.
fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}
