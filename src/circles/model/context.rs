//! What a member has to know of a circle, in one document.

use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::circles::model::{Member, Task, TaskCounts};
use crate::ids::ExternalId;
use crate::memories::Memory;
use crate::words::{Metadata, Name, Prose};

/// A circle, who is in it, what is to be done, what was shared lately. All of it is of one moment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CircleContext)]
pub struct Context {
    /// The moment, by the database's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub as_of: OffsetDateTime,
    pub circle: ContextCircle,
    /// All of them, in the order of their ids.
    pub members: Vec<Member>,
    pub tasks: ContextTasks,
    pub memories: ContextMemories,
    pub activity: Activity,
}

/// The circle itself. Whoever asks reads the same, so the caller's own role is not in it.
#[derive(Debug, Serialize, ToSchema, sqlx::FromRow)]
pub struct ContextCircle {
    #[sqlx(rename = "circle_id")]
    pub id: ExternalId,
    pub name: Name,
    /// What it is for.
    pub purpose: Option<Prose>,
    #[sqlx(try_from = "serde_json::Value")]
    pub metadata: Metadata,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// The tasks of the circle.
#[derive(Debug, Serialize, ToSchema)]
pub struct ContextTasks {
    pub counts: TaskCounts,
    /// Those open, claimed or submitted: the most urgent 50, of equals the oldest first.
    #[schema(max_items = 50)]
    pub active: Vec<Task>,
}

/// What is shared in the circle.
#[derive(Debug, Serialize, ToSchema)]
pub struct ContextMemories {
    /// How many memories are shared and have not expired.
    pub count: i64,
    /// Those shared last, the last one first.
    #[schema(max_items = 10)]
    pub recent: Vec<Memory>,
}

/// What happened in the circle up to `as_of`: to it, its members and its tasks, and memories shared or unshared.
#[derive(Debug, Serialize, ToSchema, sqlx::FromRow)]
#[schema(as = CircleActivity)]
pub struct Activity {
    /// Null: nothing yet.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_event_at: Option<OffsetDateTime>,
    pub events_last_24h: i64,
}
