//! The stages of a recall: how long each takes, in the metrics, and as spans in the traces.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::{Histogram, HistogramVec};
use strum::VariantArray;
use tracing::{Instrument, Span};

use crate::telemetry::durations;
use crate::telemetry::traces::SPANS;

#[derive(Debug, Clone, Copy, strum::VariantArray, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Stage {
    /// Who calls, and what may they see.
    Gate,
    /// Looking for the answer in the caches.
    Cache,
    /// The question becomes a vector.
    Embed,
    /// Reading what may be an answer, with all that ranks it.
    Candidates,
    Rank,
    /// Reading what is answered, and keeping what fits into the caller's budget.
    Pack,
    Serialise,
}

impl Stage {
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// For the traces; without any it is nothing.
    pub fn span(self) -> Span {
        tracing::info_span!(target: SPANS, "stage", otel.name = self.name())
    }
}

/// Measures stages, unless the settings say not to.
#[derive(Clone)]
pub struct Stages(Option<Arc<[Histogram]>>);

impl Stages {
    pub(super) fn new(wanted: bool) -> anyhow::Result<(Self, HistogramVec)> {
        let all = durations("cairn_recall_stage_duration_seconds", "Time that stages of a recall took.", &["stage"])?;
        let each = Stage::VARIANTS.iter().map(|stage| all.with_label_values(&[stage.name()])).collect();
        Ok((Self(wanted.then_some(each)), all))
    }

    pub fn took(&self, stage: Stage, time: Duration) {
        if let Some(each) = &self.0 {
            each[stage as usize].observe(time.as_secs_f64());
        }
    }

    /// Works, as a stage.
    pub async fn during<T>(&self, stage: Stage, work: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let done = work.instrument(stage.span()).await;
        self.took(stage, started.elapsed());
        done
    }

    /// The same for work that waits for nothing.
    pub fn measure<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let done = stage.span().in_scope(work);
        self.took(stage, started.elapsed());
        done
    }
}
