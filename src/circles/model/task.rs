//! A task of a circle, and what may be said about one.

use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::circles::model::TaskState;
use crate::error::{Code, Invalid, Result};
use crate::http::{ETag, FromBody};
use crate::ids::{AgentUid, ExternalId, TaskId};
use crate::json::{Fields, FromJson, Json, whole_number};
use crate::words::{Name, Prose};

/// A task.
#[derive(Debug, Clone, Serialize, ToSchema, sqlx::FromRow)]
pub struct Task {
    #[sqlx(rename = "task_id")]
    pub id: TaskId,
    pub title: Name,
    pub details: Option<Prose>,
    pub state: TaskState,
    /// The agent that is to do it, or does it.
    pub assignee: Option<ExternalId>,
    pub priority: Priority,
    /// What was submitted last.
    pub result: Option<Prose>,
    /// Why it was rejected; null once it is submitted again.
    pub reason: Option<Prose>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    pub version: i32,
    #[serde(skip)]
    pub assignee_uid: Option<AgentUid>,
}

impl Task {
    pub fn etag(&self) -> ETag {
        ETag { incarnation: self.id.uuid(), version: self.version }
    }

    pub fn fields(&self) -> TaskFields {
        TaskFields {
            title: self.title.clone(),
            details: self.details.clone(),
            assignee: self.assignee.clone(),
            priority: self.priority,
        }
    }
}

/// How urgent a task is: 0 to 9, the most urgent last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, sqlx::Type, ToSchema)]
#[serde(transparent)]
#[sqlx(transparent)]
#[schema(value_type = i16, minimum = 0, maximum = 9, default = 5)]
pub struct Priority(i16);

impl Priority {
    const MAX: i16 = 9;

    /// Reads a query parameter, or what a cursor says.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        match raw.parse() {
            Ok(priority) if (0..=Self::MAX).contains(&priority) => Ok(Self(priority)),
            Ok(_) => Err(Invalid::new(Code::OutOfRange, format!("must be 0 to {}", Self::MAX))),
            Err(_) => Err(Invalid::new(Code::InvalidType, "must be a whole number")),
        }
    }

    pub fn get(self) -> i16 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(5)
    }
}

impl FromJson for Priority {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        Ok(Self(whole_number(json, 0, i64::from(Self::MAX))? as i16))
    }
}

/// What can be said about a task. An assignee is a member of the circle.
#[derive(Debug, Clone, PartialEq, ToSchema)]
#[schema(as = NewTask)]
pub struct TaskFields {
    #[schema(inline)]
    pub title: Name,
    pub details: Option<Prose>,
    /// The only one who may claim it; null or left out: any editor or owner.
    pub assignee: Option<ExternalId>,
    #[schema(required = false)]
    pub priority: Priority,
}

impl FromJson for TaskFields {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let title = fields.required("title");
        let details = fields.nullable("details");
        let assignee = fields.nullable("assignee");
        let priority = fields.optional("priority").unwrap_or_default();
        fields.finish(|| Some(Self { title: title?, details, assignee, priority }))
    }
}

impl FromBody for TaskFields {}

/// A merge patch: absent fields stay, null sets back to the default; the title cannot be cleared.
#[derive(Debug, Clone, ToSchema)]
pub struct TaskPatch {
    #[schema(value_type = Name, required = false)]
    title: Option<Name>,
    #[schema(value_type = Option<Prose>)]
    details: Option<Option<Prose>>,
    /// May change while the task is open.
    #[schema(value_type = Option<ExternalId>)]
    assignee: Option<Option<ExternalId>>,
    #[schema(value_type = Option<Priority>)]
    priority: Option<Option<Priority>>,
}

impl TaskPatch {
    /// The agent that it names.
    pub fn assignee(&self) -> Option<&ExternalId> {
        self.assignee.as_ref()?.as_ref()
    }

    pub fn apply(&self, before: &TaskFields) -> TaskFields {
        TaskFields {
            title: self.title.clone().unwrap_or_else(|| before.title.clone()),
            details: self.details.clone().unwrap_or_else(|| before.details.clone()),
            assignee: self.assignee.clone().unwrap_or_else(|| before.assignee.clone()),
            priority: self.priority.map_or(before.priority, Option::unwrap_or_default),
        }
    }
}

impl FromJson for TaskPatch {
    fn from_json(json: &Json<'_>) -> Result<Self, Vec<Invalid>> {
        let mut fields = Fields::of(json)?;
        let title = fields.optional("title");
        let details = fields.patch("details");
        let assignee = fields.patch("assignee");
        let priority = fields.patch("priority");
        fields.finish(|| Some(Self { title, details, assignee, priority }))
    }
}

impl FromBody for TaskPatch {
    const IS_PATCH: bool = true;
}

/// Which tasks of a circle are meant; what is left out is not looked at.
#[derive(Debug, Clone)]
pub struct TaskQuery {
    pub state: Option<TaskState>,
    pub assignee: Option<ExternalId>,
    pub priority: Option<Priority>,
    /// Where the page before ended.
    pub after: Option<TaskPosition>,
    pub limit: i64,
}

/// A place in the list: the most urgent first, of those the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskPosition {
    pub priority: Priority,
    pub id: TaskId,
}

/// How many tasks of a circle are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
pub struct TaskCounts {
    pub open: i64,
    pub claimed: i64,
    pub submitted: i64,
    pub approved: i64,
    pub cancelled: i64,
}
