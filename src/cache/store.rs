//! The layered store: local first, then Redis.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use strum::VariantArray;
use tokio::runtime::Handle;

use crate::cache::entry::{Entry, Millis};
use crate::cache::flights::{Boarding, Flight, Flights};
use crate::cache::ghosts::Loss;
use crate::cache::held::{Held, Life};
use crate::cache::key::{self, Digest, Key, Value};
use crate::cache::local::{Address, Local};
use crate::cache::lookup::{Hit, Made, Slot, Wanted, count_failure, count_loss, is_fresh, taken};
use crate::cache::stats::{Layer, Stats};
use crate::cache::vault::{Owner, Vault, Vaults};
use crate::cache::{Kind, Stamp};
use crate::config;
use crate::db::Db;
use crate::ids::{ScopeId, TenantId};
use crate::redis::{Put, Redis};
use crate::sabotage::{Guard, is_off};
use crate::secrets::SecretKey;

#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    settings: config::Cache,
    local: Local,
    redis: Option<Redis>,
    vaults: Vaults,
    stats: Arc<Stats>,
    flights: Arc<Flights>,
    runtime: Handle,
}

impl Cache {
    pub fn open(
        settings: &config::Cache,
        redis: Option<Redis>,
        db: &Db,
        operator: &SecretKey,
        runtime: Handle,
    ) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(Inner {
            local: Local::new(settings.local_mb * 1024 * 1024),
            redis,
            vaults: Vaults::new(db.clone(), operator.clone()),
            stats: Arc::new(Stats::new(settings.tenant_metrics)?),
            flights: Arc::default(),
            settings: settings.clone(),
            runtime,
        })))
    }

    pub(super) fn settings(&self) -> &config::Cache {
        &self.0.settings
    }

    /// Runs what nobody waits for.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.runtime.spawn(work);
    }

    pub fn stats(&self) -> &Stats {
        &self.0.stats
    }

    pub fn redis(&self) -> Option<&Redis> {
        self.0.redis.as_ref()
    }

    /// The place of a value that depends on these scopes. None where it is not to be cached: its kind is off, or
    /// its tenant is going.
    pub async fn slot<K: Key>(&self, owner: &Owner, key: &K, scopes: Vec<ScopeId>) -> Option<Slot<K>> {
        if !K::KIND.is_on(&self.0.settings) {
            return None;
        }
        let (vault, namespace) = (self.0.vaults.of(owner).await?, key.namespace());
        let digest = vault.digest(key, &namespace);
        let hashed = !key.identity().is_empty();
        Some(Slot { hashed, ..self.slot_in(owner.tenant, vault, namespace, digest, scopes) })
    }

    /// The same, of a key that is known by its digest.
    pub async fn slot_at<K: Key>(&self, owner: &Owner, namespace: &str, digest: Digest) -> Option<Slot<K>> {
        if !K::KIND.is_on(&self.0.settings) {
            return None;
        }
        let vault = self.0.vaults.of(owner).await?;
        Some(self.slot_in(owner.tenant, vault, namespace.to_owned(), digest, Vec::new()))
    }

    fn slot_in<K: Key>(
        &self,
        tenant: TenantId,
        vault: Arc<Vault>,
        namespace: String,
        digest: Digest,
        scopes: Vec<ScopeId>,
    ) -> Slot<K> {
        let (stats, _) = self.0.stats.of(tenant);
        let address = Address { tenant, digest };
        Slot { address, namespace, hashed: true, vault, stats, scopes, kind: PhantomData }
    }

    pub async fn get<K: Key>(&self, slot: &Slot<K>, wanted: &Wanted) -> Option<Hit<K::Value>> {
        match self.get_local(slot, wanted) {
            Ok(hit) => Some(hit),
            Err(loss) => {
                let hit = self.get_redis(&[slot], wanted).await.pop().flatten();
                count_loss(slot, loss, hit.is_some());
                hit
            }
        }
    }

    /// The same for many, with one call to Redis.
    pub async fn get_many<K: Key>(&self, slots: &[&Slot<K>], wanted: &Wanted) -> Vec<Option<Hit<K::Value>>> {
        let mut hits: Vec<_> = Vec::with_capacity(slots.len());
        let mut missing = Vec::new();
        for (index, slot) in slots.iter().enumerate() {
            let hit = self.get_local(slot, wanted);
            missing.extend(hit.as_ref().err().map(|loss| (index, *loss)));
            hits.push(hit.ok());
        }
        let asked: Vec<&Slot<K>> = missing.iter().map(|(index, _)| slots[*index]).collect();
        for ((index, loss), hit) in missing.into_iter().zip(self.get_redis(&asked, wanted).await) {
            count_loss(slots[index], loss, hit.is_some());
            hits[index] = hit;
        }
        hits
    }

    /// Or why it is not there any more, if that is known.
    fn get_local<K: Key>(&self, slot: &Slot<K>, wanted: &Wanted) -> Result<Hit<K::Value>, Option<Loss>> {
        let held = self.0.local.get(&slot.address);
        let live = held.as_deref().filter(|held| held.is_live());
        match taken(slot, wanted, Layer::Local, live.map(|held| &held.entry)) {
            Some(hit) => {
                live.inspect(|held| held.use_it());
                Ok(hit)
            }
            None => Err(self.0.local.loss(&slot.address, wanted, held.as_deref())),
        }
    }

    async fn get_redis<K: Key>(&self, slots: &[&Slot<K>], wanted: &Wanted) -> Vec<Option<Hit<K::Value>>> {
        let Some(redis) = self.0.redis.as_ref().filter(|_| !slots.is_empty()) else {
            return slots.iter().map(|_| None).collect();
        };
        let names: Vec<String> = slots.iter().map(|slot| self.name(slot)).collect();
        match redis.get(names.clone()).await {
            Ok(found) => {
                let opened = slots.iter().zip(names).zip(found).map(|((slot, name), sealed)| {
                    let entry = sealed.and_then(|sealed| Entry::open(&slot.vault, &name, &sealed));
                    let hit = taken(slot, wanted, Layer::Redis, entry.as_ref())?;
                    self.keep_local(slot, entry?, wanted.now, true);
                    Some(hit)
                });
                opened.collect()
            }
            Err(unavailable) => {
                slots.iter().for_each(|slot| count_failure(slot, unavailable));
                slots.iter().map(|_| None).collect()
            }
        }
    }

    /// Whether the next to ask will find the value, fresh; nothing is counted. What only Redis has is fetched.
    pub async fn holds<K: Key>(&self, slot: &Slot<K>, wanted: &Wanted) -> bool {
        if self.0.local.get(&slot.address).is_some_and(|held| is_fresh(&held.entry, wanted)) {
            return true;
        }
        let Some(redis) = &self.0.redis else { return false };
        let name = self.name(slot);
        let sealed = redis.get(vec![name.clone()]).await.ok().and_then(|mut found| found.pop().flatten());
        let entry = sealed.and_then(|sealed| Entry::open(&slot.vault, &name, &sealed));
        match entry.filter(|entry| is_fresh(entry, wanted)) {
            Some(entry) => {
                self.keep_local(slot, entry, wanted.now, false);
                true
            }
            None => false,
        }
    }

    /// What came from Redis, by a hit there, is kept here as well, for the rest of its time.
    fn keep_local<K: Key>(&self, slot: &Slot<K>, entry: Entry, now: Millis, hit: bool) {
        let rest = entry.valid_until.saturating_sub(now.max(entry.made_at));
        let rest = Duration::from_millis(rest.try_into().unwrap_or(0));
        let lifetime = rest.min(K::KIND.lifetime(&self.0.settings));
        let whole = entry.valid_until.saturating_sub(entry.made_at);
        let ends_by_time = whole >= K::KIND.shortest_lifetime(&self.0.settings).as_millis() as Millis;
        let (scopes, stats, life) = (slot.scopes.clone(), slot.stats.clone(), Life::new(lifetime, hit));
        let held = Held { entry, kind: K::KIND, scopes, lifetime, ends_by_time, stats, life };
        if !lifetime.is_zero() {
            self.0.local.put(slot.address, held);
        }
    }

    /// Keeps what was computed: here at once, in Redis soon, if it can be reached.
    pub fn put<K: Key>(&self, made: Vec<(&Slot<K>, Made<K::Value>)>) {
        let mut puts = Vec::new();
        for (slot, made) in made {
            let lifetime = K::KIND.lifetime(&self.0.settings);
            let end = made.made_at.saturating_add(lifetime.as_millis() as i64);
            let valid_until = if made.stamp.is_some() { made.valid_until.min(end) } else { made.valid_until };
            let ttl = Duration::from_millis((valid_until.saturating_sub(made.made_at)).max(0) as u64).min(lifetime);
            let Made { value, stamp, made_at, cost, .. } = made;
            let entry = Entry { stamp, made_at, valid_until, cost, value: value.pack() };
            if self.0.redis.is_some() && !ttl.is_zero() {
                let key = self.name(slot);
                let indexes = slot.scopes.iter().map(|scope| self.index(slot.address.tenant, *scope)).collect();
                puts.extend(entry.seal(&slot.vault, &key).map(|value| Put { key, value, ttl, indexes }));
            }
            self.keep_local(slot, entry, made_at, false);
        }
        if let Some(redis) = self.0.redis.clone().filter(|_| !puts.is_empty()) {
            // Nobody waits for it, and whether it succeeds changes nothing.
            self.spawn(async move {
                redis.put(puts).await.ok();
            });
        }
    }

    /// Whether to compute what is not there, or to wait for someone who does already.
    pub fn board<K: Key>(&self, slot: &Slot<K>, stamp: Option<Stamp>) -> Boarding {
        let stamp = stamp.filter(|_| !is_off(Guard::FlightStamp));
        self.0.flights.board(Flight { address: slot.address, stamp })
    }

    /// Forgets one value, here at once and in Redis if it can be reached.
    pub async fn remove<K: Key>(&self, slot: &Slot<K>) {
        self.0.local.remove(&slot.address);
        if let Some(redis) = &self.0.redis {
            redis.delete(vec![self.name(slot)]).await.ok();
        }
    }

    /// Forgets here whatever depends on these scopes, which this instance changed, or another one.
    pub(super) fn evict_scopes(&self, tenant: TenantId, scopes: &[ScopeId], here: bool) {
        let (stats, _) = self.0.stats.of(tenant);
        for scope in scopes {
            stats.invalidate(*scope, here, self.0.local.remove_scope(*scope));
        }
    }

    /// Forgets here whatever the tenant has of these kinds.
    pub fn evict_kinds(&self, tenant: TenantId, kinds: &[Kind]) {
        self.0.local.remove_kinds(tenant, kinds.to_vec());
    }

    /// Forgets here whatever there is of a tenant that is gone.
    pub fn forget_tenant(&self, tenant: TenantId) {
        self.0.local.remove_kinds(tenant, Kind::VARIANTS.to_vec());
        self.0.vaults.forget(tenant);
        self.0.stats.drop_tenant(tenant);
    }

    /// Forgets here all there is.
    pub fn clear_local(&self) {
        self.0.local.clear();
    }

    /// Does at once what the local layer does bit by bit, so that counts of it are exact.
    pub fn tidy(&self) {
        self.0.local.tidy();
    }

    fn name<K: Key>(&self, slot: &Slot<K>) -> String {
        let digest = slot.hashed.then_some(slot.address.digest);
        key::name(&self.0.settings.prefix, slot.address.tenant, &slot.namespace, digest)
    }

    /// The index of what Redis holds that depends on a scope.
    pub(super) fn index(&self, tenant: TenantId, scope: ScopeId) -> String {
        key::index(&self.0.settings.prefix, tenant, scope)
    }

    /// With what the names of all entries of a tenant begin.
    pub(super) fn prefix_of(&self, tenant: TenantId) -> String {
        format!("{}{tenant}:", self.0.settings.prefix)
    }
}
