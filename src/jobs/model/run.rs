//! One time that a job was due, or asked for.

use serde::Serialize;
use serde_json::Value;
use sqlx::FromRow;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::ids::{JobId, RunId};

#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Run {
    pub job_id: JobId,
    pub due_at: OffsetDateTime,
    pub run_id: RunId,
    pub cause: Cause,
    pub state: RunState,
    /// How many workers have taken it up.
    pub attempt: i32,
    pub cancel_requested: bool,
    /// How far it is; a later attempt goes on from there.
    pub progress: Option<Value>,
    /// What it came to.
    pub report: Option<Value>,
    /// Why it failed.
    pub error: Option<String>,
    pub created_at: OffsetDateTime,
    pub started_at: Option<OffsetDateTime>,
    pub finished_at: Option<OffsetDateTime>,
}

/// Why a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, sqlx::Type, ToSchema, strum::IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Cause {
    /// It was due.
    Schedule,
    /// Somebody asked for it.
    Manual,
    /// What it made ready was invalidated.
    Rewarm,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, sqlx::Type, ToSchema, strum::IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum RunState {
    /// Waits for a worker.
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

/// How a worker stands to the run that it claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The run is the worker's.
    Held,
    /// It is, and is to be ended.
    Cancelled,
    /// Another has taken it over, or it is gone.
    Lost,
}

impl Cause {
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl RunState {
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Nothing more happens to it.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}
