//! One run of a warm-up: item by item, at a pace that callers do not feel, each proved fresh by the gate of its own
//! moment. Where the run before stopped, this one goes on.

use std::sync::Arc;
use std::time::Instant;

use anyhow::anyhow;
use serde_json::Value;
use tokio::time::sleep;

use crate::auth::{Caller, pass_inside};
use crate::cache::Warmth;
use crate::circles;
use crate::error::{Code, Error, Result};
use crate::ids::TenantId;
use crate::jobs::Lease;
use crate::recall::{self, Engine};
use crate::telemetry::Latencies;
use crate::warmups::model::{Pace, Pressure, Report, Warmup};
use crate::warmups::service::items::{Item, Wanted, items};

/// How often an item is tried whose embedding the provider refuses.
const ATTEMPTS: u32 = 4;

/// Works one run off and returns its report.
pub async fn run(engine: &Arc<Engine>, lease: &Lease) -> Result<Value> {
    let warmup = Warmup::try_from(lease.job().clone())?;
    let report =
        lease.progress().map(serde_json::from_value).transpose().map_err(|error| Error::Internal(anyhow!(error)))?;
    let mut run =
        WarmRun::begin(engine.clone(), lease.tenant(), format!("warm-up {}", warmup.id), report.unwrap_or_default());
    let items = items(&engine.app, lease.tenant(), &warmup.targets).await?;
    run.report.items = items.len();
    for item in items.iter().skip(run.report.done()) {
        run.work(item).await;
        lease.note(written(&run.report)?);
    }
    written(&run.report)
}

pub fn written(report: &Report) -> Result<Value> {
    serde_json::to_value(report).map_err(|error| Error::Internal(error.into()))
}

pub struct WarmRun {
    engine: Arc<Engine>,
    tenant: TenantId,
    principal: String,
    pace: Pace,
    latencies: Latencies,
    report: Report,
}

impl WarmRun {
    pub fn begin(engine: Arc<Engine>, tenant: TenantId, principal: String, report: Report) -> Self {
        let latencies = engine.app.metrics.latencies();
        let calm = latencies.p99_since(&Latencies::default());
        let pace = Pace::of(engine.app.config.warmups.items_per_second, calm);
        Self { engine, tenant, principal, pace, latencies, report }
    }

    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Goes on with so many items of another tenant.
    pub fn enter(&mut self, tenant: TenantId, items: usize) {
        self.tenant = tenant;
        self.report.items += items;
    }

    /// Makes one item ready, or notes why not; then waits for as long as the pace asks for.
    pub async fn work(&mut self, item: &Item) {
        let (started, mut attempts) = (Instant::now(), 0);
        let outcome = loop {
            let (tried, outcome) = (Instant::now(), self.attempt(item).await);
            attempts += 1;
            let pushed_back = outcome.as_ref().is_err_and(is_push_back);
            self.heed(pushed_back);
            sleep(self.pace.pause().saturating_sub(tried.elapsed())).await;
            if !pushed_back || attempts == ATTEMPTS {
                break outcome;
            }
        };
        self.report.count(&item.name, outcome.map_err(|error| reason(&error)));
        self.report.milliseconds += started.elapsed().as_millis() as u64;
    }

    async fn attempt(&mut self, item: &Item) -> Result<Warmth> {
        if let Wanted::Nothing(reason) = &item.wanted {
            return Err(Error::refused(Code::InvalidValue, reason.clone()));
        }
        let caller = pass_inside(&self.engine.app, self.tenant, &item.place, &self.principal).await?;
        match &item.wanted {
            Wanted::Recall(request) => self.recall(&caller, request).await,
            Wanted::Context | Wanted::Nothing(_) => circles::warm_context(self.engine.app.clone(), &caller).await,
        }
    }

    async fn recall(&mut self, caller: &Caller, request: &recall::RecallRequest) -> Result<Warmth> {
        let warmed = recall::warm(self.engine.clone(), caller, request.clone()).await?;
        self.report.embedding_calls += usize::from(warmed.embedded);
        Ok(warmed.warmth)
    }

    /// Looks at how callers fare since the last look.
    fn heed(&mut self, pushed_back: bool) {
        let p99 = self.latencies.advance(self.engine.app.metrics.latencies());
        self.pace.heed(Pressure { p99, pushed_back });
    }
}

/// The provider, or the tenant's budget of tokens, asks for patience.
fn is_push_back(error: &Error) -> bool {
    matches!(error, Error::Unavailable { .. }) || error.code() == Code::RateLimited
}

fn reason(error: &Error) -> String {
    match error {
        Error::Unavailable { detail, .. } => detail.to_string(),
        other => other.to_string(),
    }
}
