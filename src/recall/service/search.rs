//! Computing an answer: embed the question, then find, rank and read: in memory where the scopes searched can be held
//! there, else by Postgres.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use pgvector::HalfVector;

use crate::app::App;
use crate::cache::{Computed, Proven, Timing};
use crate::error::{Error, Result};
use crate::ids::ScopeId;
use crate::memories::{halved, indexed_text};
use crate::recall::model::{Mode, Path, RecallAnswer, RecallRequest, Recalled, Rule, Warning};
use crate::recall::pack;
use crate::recall::question::Question as Words;
use crate::recall::rank::{Pool, Ranked, Ranking, rank};
use crate::recall::service::{Engine, Question, from_index, from_postgres};
use crate::rerank::Reranker;
use crate::telemetry::Stage;

/// Candidates that each side hands over at least; more gain nothing (see docs/recall.md).
const DEPTH: usize = 50;

/// A question as it is understood.
pub(super) struct Hunt {
    pub question: Arc<Question>,
    pub pin: String,
    pub words: Words,
    pub vector: Option<HalfVector>,
    /// The one of the request, unless the question could not be embedded.
    pub mode: Mode,
    /// So many of the best are put in order by the reranker.
    pub reranked: usize,
    /// Whether the answer is to be kept or shared, and so has to be proved.
    pub to_keep: bool,
}

/// What was found, and what proves it.
pub(super) struct Found {
    pub results: Vec<Recalled>,
    pub path: Path,
    pub proof: Option<Proven>,
}

impl Hunt {
    fn new(
        engine: &Engine,
        question: Arc<Question>,
        (vector, mode): (Option<HalfVector>, Mode),
        to_keep: bool,
    ) -> Self {
        let rules = &question.request.explain;
        let reranker = engine.reranker.as_ref().filter(|_| rules.applies(Rule::Rerank));
        Self {
            pin: engine.pin(engine.app.embedder.pin()),
            words: Words::read(&question.request.query, rules.applies(Rule::Kinds)),
            reranked: reranker.map_or(0, Reranker::top),
            question,
            vector,
            mode,
            to_keep,
        }
    }

    pub fn scopes(&self) -> Vec<ScopeId> {
        self.question.places.iter().map(|place| place.scope).collect()
    }

    /// How many candidates each side hands over.
    pub fn depth(&self) -> usize {
        DEPTH.max(self.question.request.k).max(self.reranked)
    }

    /// The best of the pool.
    pub fn best(&self, pool: &Pool) -> Vec<Ranked> {
        let RecallRequest { explain: rules, min_score, k, .. } = &self.question.request;
        let ranking = Ranking { question: &self.words, mode: self.mode, rules, k: *k };
        let ranked = rank(pool, &ranking).into_iter();
        ranked.filter(|one| one.score >= min_score.unwrap_or(0.0)).take(self.reranked.max(*k)).collect()
    }

    /// Whether what stands near a word is found by it.
    pub fn neighbours(&self) -> bool {
        self.question.request.explain.applies(Rule::Neighbours)
    }
}

pub(super) async fn compute(engine: Arc<Engine>, question: Arc<Question>, to_keep: bool) -> Result<Computed> {
    let mut warnings = Vec::new();
    let (app, started) = (engine.app.clone(), Instant::now());
    let stages = app.metrics.stages();
    let (vector, mode) = stages.during(Stage::Embed, embedded(&app, &question, &mut warnings)).await?;
    let (embed, started) = (started.elapsed(), Instant::now());
    let hunt = Arc::new(Hunt::new(&engine, question, (vector, mode), to_keep));
    let (finding, hunted) = (engine.clone(), hunt.clone());
    let mut found = app.db.run(async move { find(&finding, &hunted).await }).await?;
    found.results = reranked(&engine, &hunt, found.results, &mut warnings).await;
    let (makeshift, proof) = (!warnings.is_empty(), found.proof);
    let body = stages.measure(Stage::Serialise, || written(&hunt, found, warnings))?;
    let timing = Timing { embed, search: started.elapsed(), ..Timing::default() };
    Ok(Computed { body, proof, makeshift, timing })
}

async fn find(engine: &Engine, hunt: &Hunt) -> Result<Found> {
    let found = match from_index::find(engine, hunt).await? {
        Some(found) => found,
        None => from_postgres::find(engine, hunt).await?,
    };
    engine.metrics.answered(found.path);
    Ok(found)
}

/// In the order of the reranker, if there is one and it answers.
async fn reranked(engine: &Engine, hunt: &Hunt, results: Vec<Recalled>, warnings: &mut Vec<Warning>) -> Vec<Recalled> {
    let Some(reranker) = engine.reranker.as_ref().filter(|_| hunt.reranked > 0) else { return results };
    let Question { owner, request, .. } = &*hunt.question;
    let texts = results.iter().take(hunt.reranked).map(|result| indexed_text(&result.memory.fields)).collect();
    match reranker.rerank(owner.tenant, &request.query, texts).await {
        Ok(scores) => reorder(results, &scores),
        Err(cause) => {
            tracing::warn!(cause = format!("{cause:#}"), "recall keeps its own order");
            warnings.push(Warning {
                code: "reranking_unavailable",
                detail: "the reranker did not answer; these results are in the order of their scores".into(),
            });
            results
        }
    }
}

/// The first so many in the order of what a reranker says of them; the rest stays behind.
fn reorder(mut results: Vec<Recalled>, scores: &[f32]) -> Vec<Recalled> {
    let rest = results.split_off(scores.len().min(results.len()));
    let mut judged: Vec<(f32, Recalled)> = scores.iter().copied().zip(results).collect();
    judged.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let judged = judged.into_iter().map(|(score, mut result)| {
        if let Some(explain) = &mut result.explain {
            explain.rerank = Some(f64::from(score));
        }
        result
    });
    judged.chain(rest).collect()
}

/// As it is sent: as many results as are wanted and there is room for.
fn written(hunt: &Hunt, found: Found, warnings: Vec<Warning>) -> Result<Bytes> {
    let request = &hunt.question.request;
    let results = found.results.into_iter().take(request.k).collect();
    let results = pack::within_budget(results, request.token_budget, |result| pack::tokens(&result.memory));
    let approximate = found.path == Path::ApproximateIndex;
    let answer =
        RecallAnswer { results, approximate, warnings, path: request.explain.is_wanted().then_some(found.path) };
    Ok(serde_json::to_vec(&answer).map_err(|error| Error::Internal(error.into()))?.into())
}

/// The question as a vector. When it cannot be embedded, a hybrid search makes do with words alone,
/// and the answer says so; a semantic one fails.
async fn embedded(app: &App, question: &Question, warnings: &mut Vec<Warning>) -> Result<(Option<HalfVector>, Mode)> {
    let request = &question.request;
    if request.mode == Mode::Lexical {
        return Ok((None, Mode::Lexical));
    }
    match app.embedder.embed_query(&question.owner, &request.query).await {
        Ok(vector) => Ok((Some(halved(&vector)), request.mode)),
        Err(Error::Unavailable { cause, .. }) if request.mode == Mode::Hybrid => {
            tracing::warn!(cause = format!("{cause:#}"), "recall falls back to words");
            warnings.push(Warning {
                code: "embedding_unavailable",
                detail: "the question could not be embedded; these results match by words alone".into(),
            });
            Ok((None, Mode::Lexical))
        }
        Err(other) => Err(other),
    }
}
