//! The cache in front of the provider: every text is looked up, what is missing is embedded in one batch, and of
//! many who want the same text at once, one embeds it. The vector of a text never changes, so there is no stamp.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use bytes::Bytes;
use half::f16;
use half::slice::HalfFloatSliceExt;
use tokio::time::timeout_at;

use super::{Embedder, Windows, tokens, unavailable};
use crate::cache::{
    Boarding, Cache, Cost, Digest, Follow, Key, Kind, Landed, Lead, Made, Millis, Owner, Saving, Sign, Slot, Value,
    Wanted,
};
use crate::error::{Error, Result};

/// What a text is embedded for: providers may embed questions and answers differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    Query,
    Document,
}

/// Names the vectors of a text: by the model, its revision and dimensions, the task, and the very bytes that the
/// provider is given. Another model is another key.
struct TextKey(Vec<u8>);

impl TextKey {
    fn new(pin: &str, task: Task, text: &str) -> Self {
        let task = match task {
            Task::Query => "query",
            Task::Document => "document",
        };
        Self([pin, "\0", task, "\0", text].concat().into_bytes())
    }
}

impl Key for TextKey {
    const KIND: Kind = Kind::Embedding;
    type Value = Packed;

    fn namespace(&self) -> String {
        Self::KIND.namespace().into()
    }

    fn identity(&self) -> &[u8] {
        &self.0
    }
}

/// The windows of a text in half precision: a version, dimensions, then the numbers, all little-endian.
#[derive(Clone)]
pub struct Packed(Bytes);

const PACKING: u8 = 1;
const HEAD: usize = 3;

impl Packed {
    pub fn of(windows: &Windows) -> Self {
        let dims = windows.first().map_or(0, Vec::len);
        let mut bytes = Vec::with_capacity(HEAD + windows.len() * dims * 2);
        bytes.push(PACKING);
        bytes.extend((dims as u16).to_le_bytes());
        bytes.extend(windows.iter().flatten().flat_map(|x| f16::from_f32(*x).to_le_bytes()));
        Self(bytes.into())
    }

    /// None if the lengths do not fit each other.
    pub fn windows(&self) -> Option<Windows> {
        let (head, numbers) = self.0.split_first_chunk::<HEAD>()?;
        let dims = usize::from(u16::from_le_bytes([head[1], head[2]]));
        if head[0] != PACKING || dims == 0 || numbers.is_empty() || !numbers.len().is_multiple_of(dims * 2) {
            return None;
        }
        let window = |bytes: &[u8]| {
            let halves: Vec<f16> = bytes.chunks_exact(2).map(|pair| f16::from_le_bytes([pair[0], pair[1]])).collect();
            halves.to_f32_vec()
        };
        Some(numbers.chunks_exact(dims * 2).map(window).collect())
    }
}

impl Value for Packed {
    fn pack(&self) -> Bytes {
        self.0.clone()
    }

    fn unpack(packed: &Bytes) -> Option<Self> {
        Some(Self(packed.clone()))
    }
}

/// What a text is called in the cache of its tenant, as the last part of the key in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextHash(Digest);

impl fmt::Display for TextHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl FromStr for TextHash {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Digest::parse(text).map(Self).ok_or(())
    }
}

/// A text on its way to a vector.
struct Wish {
    text: String,
    slot: Slot<TextKey>,
    windows: Option<Windows>,
}

impl Embedder {
    /// Sees to it that the vector of a question is in the cache; whether the provider had to be asked.
    pub async fn warm_query(&self, owner: &Owner, query: &str) -> Result<bool> {
        if let Some(cache) = &self.cache
            && let Some(slot) = cache.slot(owner, &TextKey::new(&self.pin, Task::Query, query), Vec::new()).await
            && cache.holds(&slot, &Wanted::ANY).await
        {
            return Ok(false);
        }
        self.embed_query(owner, query).await.map(|_| true)
    }

    /// From the cache, then from the provider; in order.
    pub(super) async fn look_up(
        &self,
        owner: &Owner,
        task: Task,
        texts: Vec<String>,
        deadline: Duration,
    ) -> Result<Vec<Windows>> {
        let Some(cache) = &self.cache else {
            return self.run(owner, texts, deadline).await;
        };
        let mut wishes = Vec::with_capacity(texts.len());
        for text in &texts {
            let Some(slot) = cache.slot(owner, &TextKey::new(&self.pin, task, text), Vec::new()).await else {
                return self.spend(cache, owner, texts, deadline).await;
            };
            wishes.push(Wish { text: text.clone(), slot, windows: None });
        }
        self.fulfil(cache, owner, &mut wishes, deadline).await?;
        Ok(wishes.into_iter().filter_map(|wish| wish.windows).collect())
    }

    /// Asks the provider, and counts what that takes.
    async fn spend(
        &self,
        cache: &Cache,
        owner: &Owner,
        texts: Vec<String>,
        deadline: Duration,
    ) -> Result<Vec<Windows>> {
        let sent = texts.iter().map(|text| u64::from(tokens(text))).sum();
        let embedded = self.run(owner, texts, deadline).await?;
        let (stats, _) = cache.stats().of(owner.tenant);
        stats.sign(Kind::Embedding, Sign::SpentCalls, 1);
        stats.sign(Kind::Embedding, Sign::SpentTokens, sent);
        Ok(embedded)
    }

    async fn fulfil(&self, cache: &Cache, owner: &Owner, wishes: &mut [Wish], deadline: Duration) -> Result<()> {
        let slots: Vec<_> = wishes.iter().map(|wish| &wish.slot).collect();
        let found = cache.get_many(&slots, &Wanted::ANY).await;
        for (wish, hit) in wishes.iter_mut().zip(found) {
            wish.windows = hit.and_then(|hit| self.checked(&hit.value));
        }
        // A leader that went away leaves its text to whoever comes next.
        while wishes.iter().any(|wish| wish.windows.is_none()) {
            let (mut leads, mut follows) = (Vec::new(), Vec::new());
            for (index, wish) in wishes.iter().enumerate().filter(|(_, wish)| wish.windows.is_none()) {
                match cache.board(&wish.slot, None) {
                    Boarding::Lead(lead) => leads.push((index, lead)),
                    Boarding::Follow(follow) => follows.push((index, follow)),
                }
            }
            // First what others may be waiting for.
            self.lead(cache, owner, wishes, leads, deadline).await?;
            self.follow(wishes, follows, deadline).await?;
        }
        Ok(())
    }

    /// Embeds what nobody embeds yet: one batch.
    async fn lead(
        &self,
        cache: &Cache,
        owner: &Owner,
        wishes: &mut [Wish],
        leads: Vec<(usize, Lead)>,
        deadline: Duration,
    ) -> Result<()> {
        if leads.is_empty() {
            return Ok(());
        }
        let texts: Vec<String> = leads.iter().map(|(index, _)| wishes[*index].text.clone()).collect();
        let (started, tokens) = (Instant::now(), texts.iter().map(|text| tokens(text)).collect::<Vec<_>>());
        let embedded = match self.spend(cache, owner, texts, deadline).await {
            Ok(embedded) => embedded,
            // Who waits may have a budget of its own, and goes ahead itself.
            Err(error @ Error::Limited { .. }) => return Err(error),
            Err(error) => {
                leads.into_iter().for_each(|(_, lead)| lead.land(Err(error.copy())));
                return Err(error);
            }
        };
        let micros = (started.elapsed().as_micros() / leads.len() as u128).try_into().unwrap_or(u32::MAX);
        let packed: Vec<Packed> = embedded.iter().map(Packed::of).collect();
        let puts = leads.iter().zip(&packed).zip(tokens);
        cache.put(
            puts.map(|(((index, _), packed), tokens)| (&wishes[*index].slot, made(packed, Cost { micros, tokens })))
                .collect(),
        );
        for (((index, lead), windows), packed) in leads.into_iter().zip(embedded).zip(packed) {
            lead.land(Ok(Landed { value: packed.pack(), valid_until: Millis::MAX, makeshift: false }));
            wishes[index].windows = Some(windows);
        }
        Ok(())
    }

    /// Waits for what others embed, no longer than it would take oneself.
    async fn follow(&self, wishes: &mut [Wish], follows: Vec<(usize, Follow)>, deadline: Duration) -> Result<()> {
        let until = tokio::time::Instant::now() + deadline;
        for (index, follow) in follows {
            let wish = &mut wishes[index];
            wish.slot.stats().save(Kind::Embedding, Saving::SharedComputations, 1);
            let landed = timeout_at(until, follow.landed(Millis::MIN)).await;
            let landed =
                landed.map_err(|_| unavailable(anyhow!("another caller's embedding took longer than {deadline:?}")))?;
            if let Some(landed) = landed {
                wish.windows = self.checked(&Packed(landed?.value));
            }
        }
        Ok(())
    }

    /// The windows, if they are what this model returns.
    fn checked(&self, packed: &Packed) -> Option<Windows> {
        let windows = packed.windows()?;
        self.check(1, std::slice::from_ref(&windows)).ok().map(|()| windows)
    }
}

fn made(packed: &Packed, cost: Cost) -> Made<Packed> {
    Made { value: packed.clone(), stamp: None, made_at: 0, valid_until: Millis::MAX, cost }
}

/// For those who want to know what is cached, and to be rid of it.
impl Embedder {
    /// The vectors of a text, if they are cached: nothing is embedded.
    pub async fn cached(&self, owner: &Owner, task: Task, text: &str) -> Option<Windows> {
        let cache = self.cache.as_ref()?;
        let slot = cache.slot(owner, &TextKey::new(&self.pin, task, text), Vec::new()).await?;
        self.checked(&cache.get(&slot, &Wanted::ANY).await?.value)
    }

    /// The same, of a text known by its hash.
    pub async fn cached_by_hash(&self, owner: &Owner, hash: TextHash) -> Option<Windows> {
        let cache = self.cache.as_ref()?;
        let slot = cache.slot_at::<TextKey>(owner, Kind::Embedding.namespace(), hash.0).await?;
        self.checked(&cache.get(&slot, &Wanted::ANY).await?.value)
    }

    /// What a text is called in the cache.
    pub async fn hash(&self, owner: &Owner, task: Task, text: &str) -> Option<TextHash> {
        let cache = self.cache.as_ref()?;
        let slot = cache.slot(owner, &TextKey::new(&self.pin, task, text), Vec::new()).await?;
        Some(TextHash(slot.digest()))
    }

    /// Forgets the vectors of a text.
    pub async fn invalidate(&self, owner: &Owner, task: Task, text: &str) {
        if let Some(hash) = self.hash(owner, task, text).await {
            self.invalidate_hash(owner, hash).await;
        }
    }

    pub async fn invalidate_hash(&self, owner: &Owner, hash: TextHash) {
        let Some(cache) = &self.cache else { return };
        if let Some(slot) = cache.slot_at::<TextKey>(owner, Kind::Embedding.namespace(), hash.0).await {
            cache.remove(&slot).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_read_back_in_half_precision() {
        let windows = vec![vec![0.5, -0.25, 0.125], vec![1.0, 0.0, 0.333_333]];
        let packed = Packed::of(&windows);
        let read = packed.windows().expect("windows");
        assert_eq!((read.len(), &read[0]), (2, &windows[0]));
        assert!((read[1][2] - 0.333_333).abs() < 2e-4);
        assert_eq!(Packed::of(&read).0, packed.0, "a second time changes nothing");
        for length in 0..packed.0.len() {
            let cut = Packed(packed.0.slice(..length)).windows();
            assert!(cut.is_none_or(|windows| windows.len() < 2), "{length} bytes");
        }
    }

    #[test]
    fn model_task_and_text_make_the_key() {
        let identity = |pin, task, text| TextKey::new(pin, task, text).identity().to_vec();
        let one = identity("m@1/3", Task::Query, "stone");
        for other in [
            identity("m@2/3", Task::Query, "stone"),
            identity("m@1/3", Task::Document, "stone"),
            identity("m@1/3", Task::Query, "Stone"),
        ] {
            assert_ne!(one, other);
        }
    }
}
