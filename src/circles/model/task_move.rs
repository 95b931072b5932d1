//! A move of a task: how a request describes it, and what is kept of it.

use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::circles::model::{Step, TaskState};
use crate::error::{Invalid, Result};
use crate::http::FromBody;
use crate::ids::ExternalId;
use crate::json::{Fields, FromJson, Json};
use crate::words::Prose;

/// A step, and what is said about it.
#[derive(Debug, Clone)]
pub struct NotedStep {
    pub step: Step,
    pub note: Option<Prose>,
}

/// A word on a move.
#[derive(Debug, Clone, ToSchema)]
pub struct TaskNote {
    /// Kept in the history of the task.
    pub note: Option<Prose>,
}

impl TaskNote {
    pub fn on(self, step: Step) -> NotedStep {
        NotedStep { step, note: self.note }
    }
}

impl FromJson for TaskNote {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let note = fields.nullable("note");
        fields.finish(|| Some(Self { note }))
    }
}

impl FromBody for TaskNote {
    const IS_OPTIONAL: bool = true;
}

/// What came of a task.
#[derive(Debug, Clone, ToSchema)]
pub struct Submission {
    pub result: Option<Prose>,
    /// Kept in the history of the task.
    pub note: Option<Prose>,
}

impl Submission {
    pub fn step(self) -> NotedStep {
        NotedStep { step: Step::Submit { result: self.result }, note: self.note }
    }
}

impl FromJson for Submission {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let result = fields.nullable("result");
        let note = fields.nullable("note");
        fields.finish(|| Some(Self { result, note }))
    }
}

impl FromBody for Submission {
    const IS_OPTIONAL: bool = true;
}

/// Why a task is not done yet.
#[derive(Debug, Clone, ToSchema)]
pub struct Rejection {
    pub reason: Option<Prose>,
    /// Kept in the history of the task; the reason, if left out.
    pub note: Option<Prose>,
}

impl Rejection {
    pub fn step(self) -> NotedStep {
        let note = self.note.or_else(|| self.reason.clone());
        NotedStep { step: Step::Reject { reason: self.reason }, note }
    }
}

impl FromJson for Rejection {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let reason = fields.nullable("reason");
        let note = fields.nullable("note");
        fields.finish(|| Some(Self { reason, note }))
    }
}

impl FromBody for Rejection {
    const IS_OPTIONAL: bool = true;
}

/// A move of a task, the first being its creation.
#[derive(Debug, Clone, Serialize, ToSchema, sqlx::FromRow)]
pub struct TaskMove {
    /// The agent that acted; null for a trusted back end.
    pub agent_id: Option<ExternalId>,
    /// The id of the credential.
    pub moved_by: String,
    /// Null of a task that is new.
    #[sqlx(rename = "from_state")]
    pub from: Option<TaskState>,
    #[sqlx(rename = "to_state")]
    pub to: TaskState,
    #[serde(with = "time::serde::rfc3339")]
    #[sqlx(rename = "moved_at")]
    pub at: OffsetDateTime,
    pub note: Option<Prose>,
    #[serde(skip)]
    pub move_no: i32,
}
