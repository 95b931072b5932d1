//! Reading through: an answer comes from the cache if it is proved fresh; else it is computed, or waited for where
//! somebody computes it already, and kept with what proves it.

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::RngExt;
use tracing::Instrument;
use utoipa::ToSchema;

use crate::cache::entry::{Cost, Millis};
use crate::cache::flights::{Boarding, Landed, Lead};
use crate::cache::lookup::{Hit, Made, Slot, Wanted};
use crate::cache::stats::{Layer, Saving};
use crate::cache::{Cache, Digest, Key, Owner, Stamp};
use crate::error::{Code, Error, Invalid, Result};
use crate::ids::ScopeId;
use crate::telemetry::Stage;

crate::from_json_string!(CacheUse);

/// What to do with the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ToSchema, strum::EnumString)]
#[schema(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum CacheUse {
    /// Answer from the cache where it is proved fresh.
    #[default]
    Use,
    /// Compute and do not store.
    Bypass,
    /// Compute and store.
    Refresh,
}

impl CacheUse {
    pub fn parse(name: &str) -> Result<Self, Invalid> {
        name.parse().map_err(|_| Invalid::new(Code::InvalidValue, "must be one of use, bypass, refresh"))
    }
}

/// An answer that is asked for: whose, which, and what it depends on.
pub struct Sought<K> {
    pub owner: Owner,
    pub key: K,
    /// Whose changes make it worthless.
    pub scopes: Vec<ScopeId>,
    /// Without a stamp it is not cached.
    pub wanted: Wanted,
    pub cache: CacheUse,
    /// Whether two answers with equal stamps agree.
    pub agree: fn(&[u8], &[u8]) -> bool,
}

/// An answer just computed.
pub struct Computed {
    /// JSON, as it is sent.
    pub body: Bytes,
    /// None where nobody asked for it.
    pub proof: Option<Proven>,
    /// Less than it could be, and so for this moment only.
    pub makeshift: bool,
    pub timing: Timing,
}

/// Of the snapshot that an answer was computed from.
#[derive(Clone, Copy)]
pub struct Proven {
    /// None: a scope has no tag, and the answer is not to be kept.
    pub stamp: Option<Stamp>,
    pub now: Millis,
    pub valid_until: Millis,
}

/// Where the time went, for `Server-Timing`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    pub cache: Duration,
    pub embed: Duration,
    pub search: Duration,
}

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

impl Source {
    /// For the log, where age would be one value too many.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit { layer: Layer::Local, .. } => "hit local",
            Self::Hit { layer: Layer::Redis, .. } => "hit redis",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}

pub struct Answer {
    /// JSON, as it is sent.
    pub body: Bytes,
    pub source: Source,
    pub timing: Timing,
    /// What the question is called in the cache; none: it is not cached.
    pub digest: Option<Digest>,
}

impl Answer {
    fn from_cache(hit: Hit<Bytes>, now: Millis, took: Duration, digest: Digest) -> Self {
        let source = Source::Hit { layer: hit.layer, age: hit.age(now) };
        let timing = Timing { cache: took, ..Timing::default() };
        Self { body: hit.value, source, timing, digest: Some(digest) }
    }
}

impl Cache {
    /// `compute` is told whether the answer is to be kept or shared, and so has to be proved.
    pub async fn through<K, Compute, Work>(&self, sought: Sought<K>, compute: Compute) -> Result<Answer>
    where
        K: Key<Value = Bytes>,
        Compute: Fn(bool) -> Work,
        Work: Future<Output = Result<Computed>> + Send + 'static,
    {
        let (started, wanted) = (Instant::now(), sought.wanted);
        let slot = self.slot_wanted(&sought).await;
        let (Some(slot), Some(stamp)) = (slot, wanted.stamp) else {
            let Computed { body, timing, .. } = compute(false).await?;
            return Ok(Answer { body, source: Source::Bypass, timing, digest: None });
        };
        if sought.cache == CacheUse::Use
            && let Some(hit) = self.get(&slot, &wanted).instrument(Stage::Cache.span()).await
        {
            if self.verifies() {
                self.verify(&sought, stamp, &hit, compute(true));
            }
            return Ok(Answer::from_cache(hit, wanted.now, started.elapsed(), slot.digest()));
        }
        let looked = started.elapsed();
        let walk = Walk { cache: self, slot: &slot, compute };
        let (body, timing) = match sought.cache {
            CacheUse::Use => walk.fly(&wanted).await?,
            _ => walk.lead(None).await?,
        };
        let (timing, digest) = (Timing { cache: looked, ..timing }, Some(slot.digest()));
        Ok(Answer { body, source: Source::Miss, timing, digest })
    }

    /// The place of the answer, unless the caller wants none.
    async fn slot_wanted<K: Key>(&self, sought: &Sought<K>) -> Option<Slot<K>> {
        if sought.cache == CacheUse::Bypass {
            return None;
        }
        self.slot(&sought.owner, &sought.key, sought.scopes.clone()).await
    }

    /// One in so many hits, as the settings say.
    fn verifies(&self) -> bool {
        let one_in = self.settings().verify_one_in;
        one_in != 0 && rand::rng().random_range(0..one_in) == 0
    }

    /// Looking over one's own shoulder: a hit is computed anew, and must not differ. Nobody waits for it.
    fn verify<K: Key>(
        &self,
        sought: &Sought<K>,
        stamp: Stamp,
        hit: &Hit<Bytes>,
        anew: impl Future<Output = Result<Computed>> + Send + 'static,
    ) {
        let (cache, tenant, agree) = (self.clone(), sought.owner.tenant, sought.agree);
        let (cached, valid_until, namespace) = (hit.value.clone(), hit.valid_until, sought.key.namespace());
        self.spawn(async move {
            let Ok(Computed { body, proof: Some(proof), makeshift: false, .. }) = anew.await else { return };
            // Judged only if nothing has changed, and nothing has expired, between the hit and now.
            if proof.stamp == Some(stamp) && proof.now < valid_until && !agree(&body, &cached) {
                cache.stats().mismatch();
                tracing::error!(
                    %tenant,
                    namespace,
                    "a cached answer differs from what is computed anew: please report this"
                );
            }
        });
    }
}

/// The way to an answer that is not there.
pub(super) struct Walk<'a, K: Key, Compute> {
    pub(super) cache: &'a Cache,
    pub(super) slot: &'a Slot<K>,
    pub(super) compute: Compute,
}

impl<K, Compute, Work> Walk<'_, K, Compute>
where
    K: Key<Value = Bytes>,
    Compute: Fn(bool) -> Work,
    Work: Future<Output = Result<Computed>>,
{
    /// Computes, unless someone with an equal stamp does already.
    pub(super) async fn fly(&self, wanted: &Wanted) -> Result<(Bytes, Timing)> {
        let started = Instant::now();
        // What the first flight had to do without may be back since; a second one begins after this question was asked.
        let mut was_makeshift = false;
        loop {
            match self.cache.board(self.slot, wanted.stamp) {
                Boarding::Lead(flight) => return self.lead(Some(flight)).await,
                Boarding::Follow(flight) => {
                    let Some(landed) = flight.landed(wanted.now).await.transpose()? else { continue };
                    if landed.makeshift && !was_makeshift {
                        was_makeshift = true;
                        continue;
                    }
                    self.slot.stats().save(K::KIND, Saving::SharedComputations, 1);
                    return Ok((landed.value, Timing { search: started.elapsed(), ..Timing::default() }));
                }
            }
        }
    }

    /// Computes, keeps the answer, and hands it to those who wait, in this order: who comes in between finds it kept.
    async fn lead(&self, flight: Option<Lead>) -> Result<(Bytes, Timing)> {
        let started = Instant::now();
        let Computed { body, proof, makeshift, timing } = match (self.compute)(true).await {
            Ok(computed) => computed,
            Err(error) => {
                // Who was refused by a limit of its own leaves the flight to the others.
                if let Some(flight) = flight.filter(|_| !matches!(error, Error::Limited { .. })) {
                    flight.land(Err(error.copy()));
                }
                return Err(error);
            }
        };
        if let Some(Proven { stamp: Some(stamp), now, valid_until }) = proof.filter(|_| !makeshift) {
            let cost = Cost { micros: started.elapsed().as_micros().try_into().unwrap_or(u32::MAX), tokens: 0 };
            let made = Made { value: body.clone(), stamp: Some(stamp), made_at: now, valid_until, cost };
            self.cache.put(vec![(self.slot, made)]);
        }
        if let Some(flight) = flight {
            let valid_until = proof.map_or(Millis::MIN, |proof| proof.valid_until);
            flight.land(Ok(Landed { value: body.clone(), valid_until, makeshift }));
        }
        Ok((body, timing))
    }
}
