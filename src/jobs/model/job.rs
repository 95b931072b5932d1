//! A job as it is kept.

use serde_json::Value;
use sqlx::FromRow;
use time::OffsetDateTime;

use crate::ids::JobId;
use crate::jobs::model::Kind;

#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Job {
    pub job_id: JobId,
    #[sqlx(try_from = "String")]
    pub kind: Kind,
    #[sqlx(flatten)]
    pub fields: JobFields,
    pub version: i32,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

/// What can be changed of a job.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct JobFields {
    pub name: String,
    pub cron: String,
    pub timezone: String,
    pub enabled: bool,
    /// What it is about, in the terms of its kind.
    pub details: Value,
    /// None where it is not enabled, or never due again.
    pub next_due: Option<OffsetDateTime>,
}
