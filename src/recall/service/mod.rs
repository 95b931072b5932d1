//! Recall, in the order in which it happens: which scopes, is the answer cached and proved fresh, else compute it
//! (or wait for whoever does) and keep it with what proves it.

mod search;
mod verify;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::app::App;
use crate::auth::{Caller, Membership};
use crate::cache::{Boarding, Cost, Hit, Kind, Landed, Layer, Lead, Made, Millis, Owner, Saving, Slot, Stamp, Wanted};
use crate::error::{Error, Result};
use crate::ids::{ExternalId, ScopeId, Tag};
use crate::recall::canonical::RecallKey;
use crate::recall::model::{CacheUse, RecallRequest, Via, ViaKind, Within};
use crate::recall::service::search::compute;

/// Everything that decides how an answer is made and written. It is part of every stamp, so that releases that
/// answer differently never take each other's answers, and nobody has to remember to raise a number.
static RULES: LazyLock<String> = LazyLock::new(|| {
    let sources = [
        env!("CARGO_PKG_VERSION"),
        include_str!("../model.rs"),
        include_str!("../rank.rs"),
        include_str!("../pack.rs"),
        include_str!("../candidates.rs"),
        include_str!("search.rs"),
        include_str!("../../memories/model.rs"),
        include_str!("../../memories/fields.rs"),
        include_str!("../../memories/store.rs"),
        include_str!("../../memories/text.rs"),
        include_str!("../../memories/filter/mod.rs"),
    ];
    let hash = sources.iter().fold(Sha256::new(), |hash, source| hash.chain_update(source));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
});

/// Where an answer comes from, for `Cairn-Cache`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Hit {
        layer: Layer,
        age: Millis,
    },
    Miss,
    /// Caching was not wanted, or is not possible.
    Bypass,
}

/// Where the time went, for `Server-Timing`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    pub cache: Duration,
    pub embed: Duration,
    pub search: Duration,
}

pub struct Answer {
    /// JSON, as it is sent.
    pub body: Bytes,
    pub source: Source,
    pub timing: Timing,
}

/// A scope to search, how an answer names it, and its tag as the gate saw it.
#[derive(Debug, Clone)]
struct Place {
    scope: ScopeId,
    via: Via,
    tag: Option<Tag>,
}

/// A question, and all that its answer depends on.
struct Question {
    owner: Owner,
    agent: ScopeId,
    places: Vec<Place>,
    request: RecallRequest,
}

/// An answer just computed.
struct Computed {
    body: Bytes,
    /// None where nobody asked for it.
    proof: Option<Proven>,
    /// Less than it could be, and so for this moment only.
    degraded: bool,
    timing: Timing,
}

/// Of the snapshot that the answer was computed from.
#[derive(Clone, Copy)]
struct Proven {
    /// None: a scope has no tag, and the answer is not to be kept.
    stamp: Option<Stamp>,
    now: Millis,
    valid_until: Millis,
}

/// What the agent of the path can recall, for this question.
pub async fn recall(app: Arc<App>, caller: &Caller, request: RecallRequest) -> Result<Answer> {
    let agent = caller.known_agent()?.scope();
    let places = places(caller, &request.within)?;
    let stamp = stamp(&caller.embedding_pin, caller.tenant_tag, caller.agent()?.tag, &places);
    let question = Arc::new(Question { owner: caller.owner(), agent, places, request });
    let started = Instant::now();
    let slot = slot(&app, caller, &question).await?;
    let (Some(slot), Some(stamp)) = (slot, stamp) else {
        let computed = compute(app, question, false).await?;
        return Ok(Answer { body: computed.body, source: Source::Bypass, timing: computed.timing });
    };
    let wanted = Wanted { stamp: Some(stamp), now: millis(caller.checked_at) };
    if question.request.cache == CacheUse::Use
        && let Some(hit) = app.cache.get(&slot, &wanted).await
    {
        verify::sometimes(&app, &question, &hit, stamp);
        return Ok(from_cache(hit, wanted.now, started.elapsed()));
    }
    let looked = started.elapsed();
    let (body, timing) = match question.request.cache {
        CacheUse::Use => fly(&app, &question, &slot, &wanted).await?,
        _ => lead(&app, &question, &slot, None).await?,
    };
    Ok(Answer { body, source: Source::Miss, timing: Timing { cache: looked, ..timing } })
}

fn from_cache(hit: Hit<Bytes>, now: Millis, took: Duration) -> Answer {
    let source = Source::Hit { layer: hit.layer, age: hit.age(now) };
    Answer { body: hit.value, source, timing: Timing { cache: took, ..Timing::default() } }
}

/// The place of the answer, unless the caller wants none.
async fn slot(app: &App, caller: &Caller, question: &Question) -> Result<Option<Slot<RecallKey>>> {
    if question.request.cache == CacheUse::Bypass {
        return Ok(None);
    }
    let key =
        RecallKey::of_agent(&caller.agent()?.id, &question.request).map_err(|error| Error::Internal(error.into()))?;
    let scopes = question.places.iter().map(|place| place.scope).chain([question.agent]).collect();
    Ok(app.cache.slot(&question.owner, &key, scopes).await)
}

/// Computes, unless someone with an equal stamp does already.
async fn fly(
    app: &Arc<App>,
    question: &Arc<Question>,
    slot: &Slot<RecallKey>,
    wanted: &Wanted,
) -> Result<(Bytes, Timing)> {
    let started = Instant::now();
    // What the first flight had to do without may be back since; a second one begins after this question was asked.
    let mut was_makeshift = false;
    loop {
        match app.cache.board(slot, wanted.stamp) {
            Boarding::Lead(flight) => return lead(app, question, slot, Some(flight)).await,
            Boarding::Follow(flight) => {
                let Some(landed) = flight.landed(wanted.now).await.transpose()? else { continue };
                if landed.makeshift && !was_makeshift {
                    was_makeshift = true;
                    continue;
                }
                slot.stats().save(Kind::Recall, Saving::SharedComputations, 1);
                return Ok((landed.value, Timing { search: started.elapsed(), ..Timing::default() }));
            }
        }
    }
}

/// Computes, keeps the answer, and hands it to those who wait, in this order: who comes in between finds it kept.
async fn lead(
    app: &Arc<App>,
    question: &Arc<Question>,
    slot: &Slot<RecallKey>,
    flight: Option<Lead>,
) -> Result<(Bytes, Timing)> {
    let started = Instant::now();
    let computed = match compute(app.clone(), question.clone(), true).await {
        Ok(computed) => computed,
        Err(error) => {
            if let Some(flight) = flight {
                flight.land(Err(error.copy()));
            }
            return Err(error);
        }
    };
    let Computed { body, proof, degraded, timing } = computed;
    if let Some(Proven { stamp: Some(stamp), now, valid_until }) = proof.filter(|_| !degraded) {
        let cost = Cost { micros: started.elapsed().as_micros().try_into().unwrap_or(u32::MAX), tokens: 0 };
        let made = Made { value: body.clone(), stamp: Some(stamp), made_at: now, valid_until, cost };
        app.cache.put(vec![(slot, made)]);
    }
    if let Some(flight) = flight {
        let valid_until = proof.map_or(Millis::MIN, |proof| proof.valid_until);
        flight.land(Ok(Landed { value: body.clone(), valid_until, makeshift: degraded }));
    }
    Ok((body, timing))
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
fn stamp(pin: &str, tenant: Option<Tag>, agent: Option<Tag>, places: &[Place]) -> Option<Stamp> {
    let mut scopes: Vec<_> = places.iter().map(|place| (place.scope.uuid(), place.tag)).collect();
    scopes.sort_unstable_by_key(|(scope, _)| *scope);
    scopes.dedup_by_key(|(scope, _)| *scope);
    let parts = [(&b"tenant"[..], tenant), (b"agent", agent)];
    let scopes = scopes.iter().map(|(scope, tag)| (&scope.as_bytes()[..], *tag));
    Stamp::of(&format!("{}/{pin}", *RULES), parts.into_iter().chain(scopes))
}

fn millis(moment: OffsetDateTime) -> Millis {
    (moment.unix_timestamp_nanos() / 1_000_000) as Millis
}
