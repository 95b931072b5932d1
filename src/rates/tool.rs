//! Lets calls through, or says when to come again.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use prometheus::core::Collector;

use crate::config;
use crate::error::Result;
use crate::ids::TenantId;
use crate::rates::instances::Instances;
use crate::rates::meter::{Meter, Permit, Shared};
use crate::rates::metrics::Metrics;
use crate::rates::refusals::{Refusal, Refusals, too_much};
use crate::rates::rule::{Allowance, Budget, Payer, Resource};
use crate::rates::standing::{Line, Standing};
use crate::redis::Redis;

/// From so many on, meters that nobody reads any more are forgotten.
const MANY_METERS: usize = 4_096;
/// Longer than any window.
const FORGET_AFTER: Duration = Duration::from_secs(120);
/// A request that is under way may end at any moment.
const MOMENT: Duration = Duration::from_millis(1);

/// Everybody's meters, and where they are added up.
#[derive(Clone)]
pub struct Rates(Arc<Inner>);

struct Inner {
    tenants: Allowance,
    principals: Allowance,
    shared: Shared,
    meters: RwLock<HashMap<Payer, Arc<Meter>>>,
    refusals: Refusals,
    metrics: Metrics,
}

/// Someone who passed the gate, and the quotas of its tenant.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    pub tenant: TenantId,
    pub principal: &'a str,
    pub quotas: Allowance,
}

/// What a call was let through with.
pub struct Admission {
    /// To be held until the last byte of the answer.
    pub permits: Vec<Permit>,
    pub standing: Standing,
}

impl Rates {
    pub fn new(settings: &config::Rates, prefix: &str, redis: Option<Redis>) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(Inner {
            tenants: Allowance::of_tenants(settings),
            principals: Allowance::of_principals(settings),
            shared: Shared { redis, prefix: prefix.to_owned(), instances: Instances::new(prefix) },
            meters: RwLock::default(),
            refusals: Refusals::default(),
            metrics: Metrics::new()?,
        })))
    }

    /// What a tenant with these quotas may ask for.
    pub fn of_tenant(&self, tenant: TenantId, quotas: Allowance) -> Allowance {
        // Nobody could lift a limit that keeps out the operator.
        if tenant == TenantId::OPERATOR { Allowance::default() } else { quotas.or(self.0.tenants) }
    }

    /// What each of its principals may.
    pub fn of_principal(&self, tenant: TenantId) -> Allowance {
        if tenant == TenantId::OPERATOR { Allowance::default() } else { self.0.principals }
    }

    /// What a caller may spend on embedding.
    pub fn budget(&self, caller: Caller<'_>) -> Budget {
        let resource = Resource::Tokens;
        let of_principal = self.of_principal(caller.tenant).of(resource);
        let of_tenant = self.of_tenant(caller.tenant, caller.quotas).of(resource);
        Budget {
            principal: of_principal.map(|most| (Payer::principal(caller.tenant, caller.principal), most)),
            tenant: of_tenant.map(|most| (Payer::tenant(caller.tenant), most)),
        }
    }

    /// Lets a request through, or not. None: nothing is limited.
    pub async fn admit(&self, caller: Caller<'_>) -> Result<Option<Admission>, Box<Refusal>> {
        let lines = self.lines(caller);
        if lines.is_empty() {
            return Ok(None);
        }
        let standing = Standing::new(lines.clone());
        let mut permits = Vec::new();
        for line in &lines {
            match self.pass(line).await {
                Ok(permit) => permits.extend(permit),
                Err(until) => {
                    self.0.metrics.refused(line.resource, line.by());
                    let (tenant, principal, line) = (caller.tenant, caller.principal.to_owned(), line.clone());
                    return Err(Box::new(Refusal { tenant, principal, standing, line, until }));
                }
            }
        }
        Ok(Some(Admission { permits, standing }))
    }

    /// The principal's own limits come first: what they refuse shall cost the tenant nothing.
    fn lines(&self, caller: Caller<'_>) -> Vec<Line> {
        let (of_principal, of_tenant) =
            (self.of_principal(caller.tenant), self.of_tenant(caller.tenant, caller.quotas));
        let mut lines = Vec::new();
        if !of_principal.is_unlimited() {
            self.add_lines(Payer::principal(caller.tenant, caller.principal), of_principal, &mut lines);
        }
        if !of_tenant.is_unlimited() {
            self.add_lines(Payer::tenant(caller.tenant), of_tenant, &mut lines);
        }
        lines
    }

    fn add_lines(&self, payer: Payer, allowance: Allowance, lines: &mut Vec<Line>) {
        let (meter, instances) = (self.meter(payer), self.0.shared.instances.count());
        for resource in [Resource::Concurrency, Resource::Requests, Resource::Tokens] {
            let Some(most) = allowance.of(resource) else { continue };
            let share = match resource {
                Resource::Concurrency => most.get().div_ceil(u32::try_from(instances).unwrap_or(u32::MAX)),
                Resource::Requests | Resource::Tokens => most.get(),
            };
            lines.push(Line { resource, most, share, meter: meter.clone() });
        }
    }

    /// When to come again, if not now. Tokens are counted when something is embedded.
    async fn pass(&self, line: &Line) -> Result<Option<Permit>, Instant> {
        match line.resource {
            Resource::Concurrency => line.meter.begin(line.share).map(Some).ok_or_else(|| Instant::now() + MOMENT),
            Resource::Requests => {
                let wait = line.meter.take(&self.0.shared, line.resource, line.most, 1).await;
                wait.map_or(Ok(None), Err)
            }
            Resource::Tokens => Ok(None),
        }
    }

    /// Takes what is about to be embedded out of the budget, all or nothing.
    pub async fn charge(&self, budget: &Budget, tokens: u64) -> Result<()> {
        for (payer, most) in [budget.principal, budget.tenant].into_iter().flatten() {
            self.charge_one(payer, most, tokens).await?;
        }
        Ok(())
    }

    async fn charge_one(&self, payer: Payer, most: NonZeroU32, tokens: u64) -> Result<()> {
        let (meter, resource) = (self.meter(payer), Resource::Tokens);
        let Some(until) = meter.take(&self.0.shared, resource, most, tokens).await else { return Ok(()) };
        self.0.metrics.refused(resource, payer.by());
        Err(too_much(&Line { resource, most, share: most.get(), meter }, until))
    }

    /// A refusal that still holds for whoever presents this credential.
    pub fn refused(&self, credential: &str) -> Option<Refusal> {
        let refusal = self.0.refusals.find(credential)?;
        self.0.metrics.refused(refusal.line.resource, refusal.line.by());
        Some(refusal)
    }

    /// Refuses whoever presents this credential until then without looking anything up.
    pub fn remember_refused(&self, credential: &str, refusal: &Refusal) {
        self.0.refusals.remember(credential, refusal);
    }

    fn meter(&self, payer: Payer) -> Arc<Meter> {
        let now = Instant::now();
        let found = self.0.meters.read().unwrap_or_else(PoisonError::into_inner).get(&payer).cloned();
        if let Some(meter) = found {
            meter.touch(now);
            return meter;
        }
        let mut meters = self.0.meters.write().unwrap_or_else(PoisonError::into_inner);
        if meters.len() >= MANY_METERS {
            let idle = |meter: &Meter| now.saturating_duration_since(meter.idle_since()) > FORGET_AFTER;
            meters.retain(|_, meter| meter.running() > 0 || !idle(meter));
        }
        meters.entry(payer).or_insert_with(|| Arc::new(Meter::new(payer, now))).clone()
    }

    /// Tells the other instances that this one is there, and learns how many they are.
    pub async fn beat(&self) {
        if let Some(redis) = &self.0.shared.redis {
            self.0.shared.instances.beat(redis).await;
        }
        self.0.metrics.instances(self.0.shared.instances.count());
    }

    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        self.0.metrics.collectors()
    }
}
