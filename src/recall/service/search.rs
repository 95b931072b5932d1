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
use crate::memories::halved;
use crate::recall::model::{Mode, Path, RecallAnswer, RecallRequest, Recalled, Rule, Warning};
use crate::recall::question::Question as Words;
use crate::recall::rank::{Pool, Ranked, Ranking, rank};
use crate::recall::service::{Engine, Question, from_index, from_postgres};
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
    pub fn scopes(&self) -> Vec<ScopeId> {
        self.question.places.iter().map(|place| place.scope).collect()
    }

    /// How many candidates each side hands over.
    pub fn depth(&self) -> usize {
        DEPTH.max(self.question.request.k)
    }

    /// The best of the pool.
    pub fn best(&self, pool: &Pool) -> Vec<Ranked> {
        let RecallRequest { explain: rules, min_score, k, .. } = &self.question.request;
        let ranking = Ranking { question: &self.words, mode: self.mode, rules, k: *k };
        let ranked = rank(pool, &ranking).into_iter();
        ranked.filter(|one| one.score >= min_score.unwrap_or(0.0)).take(*k).collect()
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
    let (embed, makeshift) = (started.elapsed(), !warnings.is_empty());
    let (pin, words) = (
        app.embedder.pin().to_owned(),
        Words::read(&question.request.query, question.request.explain.applies(Rule::Kinds)),
    );
    let hunt = Hunt { question, pin, words, vector, mode, to_keep };
    let started = Instant::now();
    let (body, proof) = app.db.run(async move { hunted(&engine, hunt, warnings).await }).await?;
    let timing = Timing { embed, search: started.elapsed(), ..Timing::default() };
    Ok(Computed { body, proof, makeshift, timing })
}

async fn hunted(engine: &Engine, hunt: Hunt, warnings: Vec<Warning>) -> Result<(Bytes, Option<Proven>)> {
    let found = match from_index::find(engine, &hunt).await? {
        Some(found) => found,
        None => from_postgres::find(engine, &hunt).await?,
    };
    engine.metrics.answered(found.path);
    let approximate = found.path == Path::ApproximateIndex;
    let path = hunt.question.request.explain.is_wanted().then_some(found.path);
    let answer = RecallAnswer { results: found.results, approximate, warnings, path };
    let body = engine.app.metrics.stages().measure(Stage::Serialise, || serde_json::to_vec(&answer));
    let body = body.map_err(|error| Error::Internal(error.into()))?;
    Ok((body.into(), found.proof))
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
