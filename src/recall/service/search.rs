//! Computing an answer: embed the question, candidates, rank, contents, pack; all of it in one snapshot.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use pgvector::HalfVector;

use crate::app::App;
use crate::cache::{Computed, Millis, Proven, Timing, millis};
use crate::db::{Db, TenantConn};
use crate::error::{Error, Result};
use crate::ids::{MemoryId, ScopeId, TenantId};
use crate::memories::{Memory, Proof, find_many, halved};
use crate::recall::candidates::{self, Search};
use crate::recall::model::{Mode, RecallAnswer, RecallRequest, Recalled, Warning};
use crate::recall::pack;
use crate::recall::question::Question as Words;
use crate::recall::rank::{Corpus, Pool, Ranked, lexical_scores, rank};
use crate::recall::service::{Asker, Place, Question, stamp};
use crate::telemetry::{Stage, Stages};

/// Candidates that each side hands over at least; more gain nothing (see docs/recall.md).
const DEPTH: usize = 50;

/// What is handed to the database.
struct Hunt {
    question: Arc<Question>,
    pin: String,
    vector: Option<HalfVector>,
    mode: Mode,
    warnings: Vec<Warning>,
    /// Whether the answer is to be kept or shared, and so has to be proved.
    to_keep: bool,
}

pub(super) async fn compute(app: Arc<App>, question: Arc<Question>, to_keep: bool) -> Result<Computed> {
    let mut warnings = Vec::new();
    let started = Instant::now();
    let stages = app.metrics.stages();
    let (vector, mode) = stages.during(Stage::Embed, embedded(&app, &question, &mut warnings)).await?;
    let embed = started.elapsed();
    let makeshift = !warnings.is_empty();
    let hunt = Hunt { question, pin: app.embedder.pin().to_owned(), vector, mode, warnings, to_keep };
    let (db, stages, started) = (app.db.clone(), stages.clone(), Instant::now());
    let (body, proof) = app.db.run(async move { hunted(&db, &stages, hunt).await }).await?;
    let timing = Timing { embed, search: started.elapsed(), ..Timing::default() };
    Ok(Computed { body, proof, makeshift, timing })
}

async fn hunted(db: &Db, stages: &Stages, hunt: Hunt) -> Result<(Bytes, Option<Proven>)> {
    let question = hunt.question.clone();
    let mut conn = db.read(question.owner.tenant).await?;
    let proof = if hunt.to_keep { Some(proven(&mut conn, &question, &hunt.pin).await?) } else { None };
    let results = search(&mut conn, stages, &question, hunt.vector.as_ref(), hunt.mode).await?;
    let answer = RecallAnswer { results, approximate: false, warnings: hunt.warnings };
    let body = stages.measure(Stage::Serialise, || serde_json::to_vec(&answer));
    let body = body.map_err(|error| Error::Internal(error.into()))?;
    Ok((body.into(), proof))
}

/// The stamp of this snapshot, and until when an answer from it holds.
async fn proven(conn: &mut TenantConn, question: &Question, pin: &str) -> Result<Proven> {
    let scopes: Vec<ScopeId> = question.places.iter().map(|place| place.scope).collect();
    let agent = question.asker.map(|asker| asker.scope);
    let proof = Proof::read(conn, question.owner.tenant, agent, &scopes).await?;
    let now_tagged = question.places.iter().zip(&proof.tags).map(|(place, tag)| Place { tag: *tag, ..place.clone() });
    let asker = question.asker.map(|asker| Asker { tag: proof.agent_tag, ..asker });
    let stamp = stamp(pin, proof.tenant_tag, asker, &now_tagged.collect::<Vec<_>>());
    let valid_until = proof.next_expiry.map_or(Millis::MAX, millis);
    Ok(Proven { stamp, now: millis(proof.now), valid_until })
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

/// What is searched for, as it is understood.
struct Asked<'a> {
    request: &'a RecallRequest,
    question: Words,
    /// The one of the request, unless the question could not be embedded.
    mode: Mode,
}

async fn search(
    conn: &mut TenantConn,
    stages: &Stages,
    question: &Question,
    vector: Option<&HalfVector>,
    mode: Mode,
) -> Result<Vec<Recalled>> {
    let Question { owner, places, request, .. } = question;
    let tenant = owner.tenant;
    let scopes: Vec<ScopeId> = places.iter().map(|place| place.scope).collect();
    let search = Search { tenant, scopes: &scopes, filter: &request.filter, depth: DEPTH.max(request.k) };
    let asked = Asked { request, question: Words::read(&request.query), mode };
    let pool = stages.during(Stage::Candidates, gathered(conn, &search, &asked, vector)).await?;
    let best = stages.measure(Stage::Rank, || best(pool, &asked));
    let packed = async {
        let results = contents(conn, tenant, places, best, request.explain).await?;
        Ok(pack::within_budget(results, request.token_budget, |result| pack::tokens(&result.memory)))
    };
    stages.during(Stage::Pack, packed).await
}

fn best(pool: Pool, asked: &Asked<'_>) -> Vec<Ranked> {
    let least = asked.request.min_score.unwrap_or(0.0);
    let ranked = rank(pool, &asked.question, asked.mode).into_iter();
    ranked.filter(|one| one.score >= least).take(asked.request.k).collect()
}

/// What may be an answer, and what is known of the rest.
async fn gathered(
    conn: &mut TenantConn,
    search: &Search<'_>,
    asked: &Asked<'_>,
    vector: Option<&HalfVector>,
) -> Result<Pool> {
    let mut found: Vec<MemoryId> = Vec::new();
    if let Some(vector) = vector {
        found.extend(candidates::nearest(conn, search, vector).await?.into_iter().map(|(id, _)| id));
    }
    let (mut lexical, mut corpus) = (HashMap::new(), Corpus::default());
    if asked.mode != Mode::Semantic {
        let lexicon = candidates::lexicon(conn, search, &asked.question.terms).await?;
        let scores = lexical_scores(&lexicon, asked.question.terms.len(), true);
        (lexical, corpus) = (scores.into_iter().collect(), lexicon.corpus);
        found.extend(best_by_words(&lexical, search.depth));
    }
    found.sort_unstable();
    found.dedup();
    let candidates = candidates::features(conn, search, found, vector, &lexical).await?;
    let newest = candidates::newest(conn, search).await?;
    Ok(Pool { candidates, corpus, newest })
}

fn best_by_words(lexical: &HashMap<MemoryId, f64>, depth: usize) -> Vec<MemoryId> {
    let mut order: Vec<(f64, MemoryId)> = lexical.iter().map(|(id, score)| (*score, *id)).collect();
    order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    order.into_iter().take(depth).map(|(_, id)| id).collect()
}

/// The final read, under row security: the second layer of isolation.
async fn contents(
    conn: &mut TenantConn,
    tenant: TenantId,
    places: &[Place],
    best: Vec<Ranked>,
    explain: bool,
) -> Result<Vec<Recalled>> {
    let ids: Vec<MemoryId> = best.iter().map(|one| one.id).collect();
    let searched: Vec<ScopeId> = places.iter().map(|place| place.scope).collect();
    let memories = find_many(conn, tenant, &ids, Some(&searched)).await?;
    let mut memories: HashMap<MemoryId, Memory> = memories.into_iter().map(|memory| (memory.id, memory)).collect();
    let results = best.into_iter().filter_map(|one| {
        let place = places.iter().find(|place| place.scope == one.scope)?;
        Some(Recalled {
            memory: memories.remove(&one.id)?,
            score: one.score,
            via: place.via.clone(),
            explain: explain.then_some(one.explain),
        })
    });
    Ok(results.collect())
}
