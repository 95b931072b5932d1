//! A run of a warm-up, as its tenant sees it.

use anyhow::anyhow;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::error::{Error, Result};
use crate::http::ETag;
use crate::ids::{JobId, RunId};
use crate::jobs::{Cause, Run, RunState};
use crate::warmups::model::{Effect, Report};

/// One time that a warm-up was due, or asked for.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct WarmupRun {
    pub id: RunId,
    pub warmup_id: JobId,
    pub cause: Cause,
    pub state: RunState,
    /// How many workers have taken it up; more than one where a server went away in the middle.
    pub attempt: i32,
    /// Whether it was told to stop.
    pub cancel_requested: bool,
    #[serde(with = "time::serde::rfc3339")]
    pub due_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    /// What it has done so far.
    pub report: Report,
    /// Why it failed as a whole.
    pub error: Option<String>,
    /// Null while it goes on, after seven days, and where no target is an agent.
    pub effect: Option<Effect>,
}

impl WarmupRun {
    /// A run has no version: whatever is shown of it tells one state from another.
    pub fn etag(&self) -> Result<ETag> {
        let shown = serde_json::to_vec(self).map_err(|error| Error::Internal(error.into()))?;
        let version = i32::try_from(crc32fast::hash(&shown) >> 1).unwrap_or_default();
        Ok(ETag { incarnation: self.id.uuid(), version })
    }
}

impl TryFrom<Run> for WarmupRun {
    type Error = Error;

    fn try_from(run: Run) -> Result<Self> {
        let report = run.report.or(run.progress).map(serde_json::from_value::<Report>).transpose();
        let report = report.map_err(|error| Error::Internal(anyhow!(error).context("reading the report of a run")))?;
        Ok(Self {
            id: run.run_id,
            warmup_id: run.job_id,
            cause: run.cause,
            state: run.state,
            attempt: run.attempt,
            cancel_requested: run.cancel_requested,
            due_at: run.due_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
            report: report.unwrap_or_default(),
            error: run.error,
            effect: None,
        })
    }
}
