//! Recall: which scopes, under which name, with what stamp. The cache walks the way from there; see `search` for
//! how an answer is computed.

mod contents;
mod follow;
mod from_index;
mod from_postgres;
mod hot;
mod search;

pub use hot::{HotRecall, HotRecalls};

use std::sync::{Arc, LazyLock, OnceLock};

use time::OffsetDateTime;

use crate::app::App;
use crate::auth::{self, Caller, Membership, Role};
use crate::cache::{Answer, Owner, Sought, Source, Stamp, Wanted, Warmth, fingerprint, millis};
use crate::circles::RecallCounts;
use crate::error::{Error, Result};
use crate::ids::{ExternalId, ScopeId, Tag};
use crate::recall::canonical::RecallKey;
use crate::recall::index::{HotScopes, Metrics};
use crate::recall::model::{Mode, RecallRequest, Via, ViaKind, Within};
use crate::recall::service::search::compute;
use crate::rerank::{self, Reranker};
use crate::usage::{Recalled, Recorder};

/// Everything that decides how an answer is made and written.
static RULES: LazyLock<String> = LazyLock::new(|| {
    fingerprint(&[
        env!("CARGO_PKG_VERSION"),
        include_str!("../model/request.rs"),
        include_str!("../model/answer.rs"),
        include_str!("../model/rules.rs"),
        include_str!("../rank/mod.rs"),
        include_str!("../rank/bm25.rs"),
        include_str!("../rank/duplicates.rs"),
        include_str!("../rank/evidence.rs"),
        include_str!("../rank/similarity.rs"),
        include_str!("../rank/windows.rs"),
        include_str!("../question/mod.rs"),
        include_str!("../question/date.rs"),
        include_str!("../pack.rs"),
        include_str!("../candidates/mod.rs"),
        include_str!("../candidates/semantic.rs"),
        include_str!("../candidates/lexical.rs"),
        include_str!("../candidates/features.rs"),
        include_str!("../index/scope.rs"),
        include_str!("../index/search.rs"),
        include_str!("../index/vectors.rs"),
        include_str!("../index/words.rs"),
        include_str!("contents.rs"),
        include_str!("from_index.rs"),
        include_str!("from_postgres.rs"),
        include_str!("search.rs"),
        include_str!("../../memories/model.rs"),
        include_str!("../../memories/fields.rs"),
        include_str!("../../memories/store.rs"),
        include_str!("../../memories/marks.rs"),
        include_str!("../../memories/text.rs"),
        include_str!("../../memories/language.rs"),
        include_str!("../../memories/thread.rs"),
        include_str!("../../memories/filter/mod.rs"),
        include_str!("../../memories/filter/accepts.rs"),
    ])
});

/// What this release makes of answers: of another one they are worth nothing to it.
pub fn rules() -> &'static str {
    &RULES
}

/// What recalls are computed with.
pub struct Engine {
    pub app: Arc<App>,
    /// None: the settings give it no memory.
    index: Option<Arc<HotScopes>>,
    reranker: Option<Reranker>,
    metrics: Metrics,
}

impl Engine {
    pub fn start(app: Arc<App>) -> anyhow::Result<Arc<Self>> {
        let metrics = Metrics::new(&app.metrics)?;
        let index = HotScopes::new(&app.config.recall, metrics.clone()).map(Arc::new);
        if let Some(index) = index.clone() {
            let heard = app.bus.subscribe("hot_index");
            app.accompany(|ending| follow::follow(index, heard, ending));
        }
        let judging = rerank::Metrics::new()?;
        judging.collectors().into_iter().try_for_each(|collector| app.metrics.register(collector))?;
        let reranker = Reranker::start(&app.config, judging)?;
        Ok(Arc::new(Self { app, index, reranker, metrics }))
    }

    /// What answers are made with: the model of vectors, and the reranker.
    fn pin(&self, of_vectors: &str) -> String {
        let Some(reranker) = &self.reranker else { return of_vectors.to_owned() };
        format!("{of_vectors}/{}", reranker.name())
    }
}

/// A scope to search, how an answer names it, and its tag as the gate saw it.
#[derive(Debug, Clone)]
struct Place {
    scope: ScopeId,
    via: Via,
    tag: Option<Tag>,
}

/// The agent that asks, and its tag as the gate saw it.
#[derive(Debug, Clone, Copy)]
struct Asker {
    scope: ScopeId,
    tag: Option<Tag>,
}

/// A question, and all that its answer depends on.
struct Question {
    owner: Owner,
    /// None: a circle is asked, and answers everyone alike.
    asker: Option<Asker>,
    places: Vec<Place>,
    request: RecallRequest,
    /// When the gate let it in, by the clock of the database.
    asked_at: OffsetDateTime,
}

/// Who counts recalls.
pub struct Counters<'a> {
    pub circles: &'a RecallCounts,
    pub usage: &'a Recorder,
    pub hot: &'a HotRecalls,
}

/// What the agent of the path can recall, for this question.
pub async fn recall(
    engine: Arc<Engine>,
    counters: Counters<'_>,
    caller: &Caller,
    request: RecallRequest,
) -> Result<Answer> {
    answer(engine, counters, caller, of_agent(caller, request)?).await
}

/// What is shared in the circle of the path, for this question: the same for every member.
pub async fn recall_from_circle(
    engine: Arc<Engine>,
    counters: Counters<'_>,
    caller: &Caller,
    request: RecallRequest,
) -> Result<Answer> {
    answer(engine, counters, caller, of_circle(caller, request)?).await
}

/// Has the answer to a question ready for whoever asks it next: of the agent that the caller is about, or of its circle.
pub async fn warm(engine: Arc<Engine>, caller: &Caller, request: RecallRequest) -> Result<Warmed> {
    let (key, question) = match caller.path_circle {
        Some(_) => of_circle(caller, request)?,
        None => of_agent(caller, request)?,
    };
    let (sought, question) = (sought(&engine, caller, key, &question), Arc::new(question));
    let embedding = Arc::new(OnceLock::new());
    let warmth = engine.app.cache.warm(sought, |to_keep| {
        let (engine, question, embedding) = (engine.clone(), question.clone(), embedding.clone());
        async move {
            if question.request.mode != Mode::Lexical {
                embedding.set(engine.app.embedder.warm_query(&question.owner, &question.request.query).await).ok();
            }
            // Even without a vector: who asks meanwhile shares in this, and is answered by words.
            compute(engine, question, to_keep).await
        }
    });
    let warmth = warmth.await?;
    match embedding.get() {
        Some(Err(error)) => Err(error.copy()),
        done => Ok(Warmed { warmth, embedded: matches!(done, Some(Ok(true))) }),
    }
}

/// An answer that is ready.
#[derive(Debug, Clone, Copy)]
pub struct Warmed {
    pub warmth: Warmth,
    /// Whether the provider of embeddings had to be asked.
    pub embedded: bool,
}

fn of_agent(caller: &Caller, request: RecallRequest) -> Result<(RecallKey, Question)> {
    let agent = caller.agent()?;
    let asker = Some(Asker { scope: caller.known_agent()?.scope(), tag: agent.tag });
    let places = places(caller, &request.within)?;
    let key = RecallKey::of_agent(&agent.id, &request).map_err(|error| Error::Internal(error.into()))?;
    Ok((key, Question { owner: caller.owner(), asker, places, request, asked_at: caller.checked_at }))
}

fn of_circle(caller: &Caller, request: RecallRequest) -> Result<(RecallKey, Question)> {
    let circle = caller.circle(Role::Reader)?;
    let via = Via { kind: ViaKind::Circle, id: circle.id.clone() };
    let places = vec![Place { scope: circle.content, via, tag: circle.content_tag }];
    let key = RecallKey::of_circle(&circle.id, &request).map_err(|error| Error::Internal(error.into()))?;
    Ok((key, Question { owner: caller.owner(), asker: None, places, request, asked_at: caller.checked_at }))
}

fn sought(engine: &Engine, caller: &Caller, key: RecallKey, question: &Question) -> Sought<RecallKey> {
    let pin = engine.pin(&caller.embedding_pin);
    let stamp = stamp(&pin, caller.tenant_tag, question.asker, &question.places);
    let searched = question.places.iter().map(|place| place.scope);
    Sought {
        owner: question.owner,
        key,
        scopes: searched.chain(question.asker.map(|asker| asker.scope)).collect(),
        wanted: Wanted { stamp, now: millis(caller.checked_at) },
        cache: question.request.cache,
        agree,
    }
}

/// Whether two answers with one stamp agree. Which way they came does not matter, and what an approximate index misses
/// is no mistake.
fn agree(one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    let read = |answer| serde_json::from_slice::<serde_json::Value>(answer).unwrap_or_default();
    let (mut one, mut other) = (read(one), read(other));
    for answer in [&mut one, &mut other] {
        if answer["approximate"] == true {
            return true;
        }
        answer.as_object_mut().map(|answer| answer.remove("path"));
    }
    one == other
}

async fn answer(
    engine: Arc<Engine>,
    counters: Counters<'_>,
    caller: &Caller,
    (key, question): (RecallKey, Question),
) -> Result<Answer> {
    let (sought, question) = (sought(&engine, caller, key, &question), Arc::new(question));
    let computed = |to_keep| compute(engine.clone(), question.clone(), to_keep);
    let answer = engine.app.cache.through(sought, computed).await?;
    let circles = question.places.iter().filter(|place| place.via.kind == ViaKind::Circle);
    counters.circles.note(caller.tenant, caller.checked_at, circles.map(|place| place.scope));
    note(counters.usage, caller, &question, &answer);
    note_hot(counters.hot, caller, &question, &answer);
    Ok(answer)
}

/// What an agent asks is its own; what a circle is asked is the circle's, whoever asks.
fn note(usage: &Recorder, caller: &Caller, question: &Question, answer: &Answer) {
    let asked = question.asker.map(|asker| asker.scope).or(question.places.first().map(|place| place.scope));
    let Some(scope) = asked else { return };
    let agent = if question.asker.is_some() { caller.subject.as_ref() } else { caller.acting() };
    let recall = Recalled {
        tenant: caller.tenant,
        agent: agent.and_then(|agent| agent.uid),
        scope,
        digest: answer.digest,
        hit: matches!(answer.source, Source::Hit { .. }),
    };
    usage.note(&recall, || caller.keep_queries.then(|| question.request.to_json().to_string().into_bytes()));
}

/// Only of tenants that want answers warmed again, and only of answers that are kept.
fn note_hot(hot: &HotRecalls, caller: &Caller, question: &Question, answer: &Answer) {
    let Some(digest) = answer.digest.filter(|_| caller.rewarm) else { return };
    hot.note(caller.tenant, digest, || {
        let place = match &question.asker {
            Some(_) => auth::Place::Agent(caller.subject.as_ref()?.id.clone()),
            None => auth::Place::Circle(caller.path_circle.as_ref()?.id.clone()),
        };
        let scopes = question.places.iter().map(|place| place.scope).collect();
        Some(HotRecall::new(caller.tenant, place, question.request.clone(), scopes))
    });
}

/// The gate says which circles the agent is a member of now; nothing else is searched.
fn places(caller: &Caller, within: &Within) -> Result<Vec<Place>> {
    let agent = caller.agent()?;
    let private = Place {
        scope: caller.known_agent()?.scope(),
        via: Via { kind: ViaKind::Agent, id: agent.id.clone() },
        tag: agent.tag,
    };
    let circle = |membership: &Membership| Place {
        scope: membership.content,
        via: Via { kind: ViaKind::Circle, id: membership.circle.clone() },
        tag: membership.tag,
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

/// Of what the gate saw, or of what the snapshot of an answer did: equal only if no change lies between.
fn stamp(pin: &str, tenant: Option<Tag>, asker: Option<Asker>, places: &[Place]) -> Option<Stamp> {
    let mut scopes: Vec<_> = places.iter().map(|place| (place.scope.uuid(), place.tag)).collect();
    scopes.sort_unstable_by_key(|(scope, _)| *scope);
    scopes.dedup_by_key(|(scope, _)| *scope);
    let asker = asker.map(|asker| (&b"agent"[..], asker.tag));
    let scopes = scopes.iter().map(|(scope, tag)| (&scope.as_bytes()[..], *tag));
    Stamp::of(&format!("{}/{pin}", *RULES), [(&b"tenant"[..], tenant)].into_iter().chain(asker).chain(scopes))
}

#[cfg(test)]
mod tests {
    use super::agree;

    #[test]
    fn answers_agree_whichever_way_they_came() {
        let answer = |path: &str, score: f64, approximate: bool| {
            serde_json::json!({"results": [{"score": score}], "approximate": approximate, "path": path}).to_string()
        };
        let memory = answer("hot_index", 0.5, false);
        assert!(agree(memory.as_bytes(), answer("exact_scan", 0.5, false).as_bytes()));
        assert!(!agree(memory.as_bytes(), answer("exact_scan", 0.25, false).as_bytes()));
        assert!(agree(memory.as_bytes(), answer("approximate_index", 0.25, true).as_bytes()));
        assert!(!agree(memory.as_bytes(), b"not an answer"));
    }
}
