//! Recall, in the order in which it happens: which scopes, embed the question, candidates, rank, contents, pack.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgvector::HalfVector;

use crate::app::App;
use crate::auth::Caller;
use crate::db::{Db, TenantConn};
use crate::error::{Error, Result};
use crate::ids::{ExternalId, MemoryId, ScopeId, TenantId};
use crate::memories::{Memory, find_many, halved, terms};
use crate::recall::candidates::{self, Search};
use crate::recall::model::{Mode, RecallAnswer, RecallRequest, Recalled, Via, ViaKind, Warning, Within};
use crate::recall::pack;
use crate::recall::rank::{Candidate, Ranked, lexical_scores, rank};

/// Candidates that each side hands over at least; more gain nothing (see docs/recall.md).
const DEPTH: usize = 50;

/// Where the time went, for `Server-Timing`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    pub embed: Duration,
    pub search: Duration,
}

/// A scope to search and how an answer names it.
#[derive(Debug, Clone)]
struct Place {
    scope: ScopeId,
    via: Via,
}

/// What the agent of the path can recall, for this question.
pub async fn recall(app: Arc<App>, caller: &Caller, request: RecallRequest) -> Result<(RecallAnswer, Timing)> {
    let places = places(caller, &request.within)?;
    let mut warnings = Vec::new();
    let started = Instant::now();
    let (vector, mode) = question(&app, caller.tenant, &request, &mut warnings).await?;
    let embed = started.elapsed();
    let (db, tenant) = (app.db.clone(), caller.tenant);
    let started = Instant::now();
    let results = app.db.run(async move { search(&db, tenant, &places, &request, vector, mode).await }).await?;
    let timing = Timing { embed, search: started.elapsed() };
    Ok((RecallAnswer { results, approximate: false, warnings }, timing))
}

/// The gate says which circles the agent is a member of now; nothing else is searched.
fn places(caller: &Caller, within: &Within) -> Result<Vec<Place>> {
    let agent = caller.agent()?;
    let private =
        Place { scope: caller.known_agent()?.scope(), via: Via { kind: ViaKind::Agent, id: agent.id.clone() } };
    let circle = |membership: &crate::auth::Membership| Place {
        scope: membership.content,
        via: Via { kind: ViaKind::Circle, id: membership.circle.clone() },
    };
    let member_of = |id: &ExternalId| caller.memberships.iter().find(|membership| membership.circle == *id);
    match within {
        Within::Private => Ok(vec![private]),
        Within::All => Ok(std::iter::once(private).chain(caller.memberships.iter().map(circle)).collect()),
        Within::Circles(ids) => {
            ids.iter().map(|id| member_of(id).map(circle).ok_or_else(|| Error::not_found("circle"))).collect()
        }
    }
}

/// The question as a vector. When it cannot be embedded, a hybrid search makes do with words alone,
/// and the answer says so; a semantic one fails.
async fn question(
    app: &App,
    tenant: TenantId,
    request: &RecallRequest,
    warnings: &mut Vec<Warning>,
) -> Result<(Option<HalfVector>, Mode)> {
    if request.mode == Mode::Lexical {
        return Ok((None, Mode::Lexical));
    }
    match app.embedder.embed_query(tenant, &request.query).await {
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

async fn search(
    db: &Db,
    tenant: TenantId,
    places: &[Place],
    request: &RecallRequest,
    vector: Option<HalfVector>,
    mode: Mode,
) -> Result<Vec<Recalled>> {
    let scopes: Vec<ScopeId> = places.iter().map(|place| place.scope).collect();
    let search = Search { tenant, scopes: &scopes, filter: &request.filter, depth: DEPTH.max(request.k) };
    let mut conn = db.read(tenant).await?;
    let ranked = ranked(&mut conn, &search, request, vector.as_ref(), mode).await?;
    let least = request.min_score.unwrap_or(0.0);
    let best: Vec<Ranked> = ranked.into_iter().filter(|one| one.score >= least).take(request.k).collect();
    let results = contents(&mut conn, tenant, places, best, request.explain).await?;
    Ok(pack::within_budget(results, request.token_budget, |result| pack::tokens(&result.memory)))
}

async fn ranked(
    conn: &mut TenantConn,
    search: &Search<'_>,
    request: &RecallRequest,
    vector: Option<&HalfVector>,
    mode: Mode,
) -> Result<Vec<Ranked>> {
    let mut found: HashMap<MemoryId, ScopeId> = HashMap::new();
    if let Some(vector) = vector {
        found.extend(candidates::nearest(conn, search, vector).await?);
    }
    let mut lexical: HashMap<MemoryId, f64> = HashMap::new();
    if mode != Mode::Semantic {
        let query = terms(&request.query);
        let lexicon = candidates::lexicon(conn, search, &query).await?;
        let scores = lexical_scores(&lexicon, &query);
        found.extend(scores.iter().take(search.depth).map(|(id, scope, _)| (*id, *scope)));
        lexical.extend(scores.into_iter().map(|(id, _, score)| (id, score)));
    }
    let ids: Vec<MemoryId> = found.keys().copied().collect();
    let features = candidates::features(conn, search, &ids, vector).await?;
    let Some(newest) = features.first().map(|one| one.newest) else {
        return Ok(Vec::new());
    };
    let candidates = features.into_iter().filter_map(|one| {
        Some(Candidate {
            id: one.memory_id,
            scope: *found.get(&one.memory_id)?,
            similarity: one.similarity,
            lexical: lexical.get(&one.memory_id).copied(),
            importance: one.importance,
            created_at: one.created_at,
        })
    });
    Ok(rank(candidates.collect(), mode, newest))
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
