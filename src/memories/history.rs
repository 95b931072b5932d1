//! SQL for what memories said before. Old versions are written by `store::update`, which replaces them,
//! and go with their memory; that it was forgotten is written by `store::delete`.

use serde::Serialize;
use sqlx::FromRow;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{AgentUid, MemoryId, TenantId};
use crate::memories::fields::MemoryFields;

/// A memory as it was from one change to the next.
#[derive(Debug, Clone, Serialize, ToSchema, FromRow)]
pub struct MemoryVersion {
    pub version: i32,
    /// The fields that differ from the version before; none in the first.
    #[sqlx(skip)]
    #[schema(value_type = Vec<String>)]
    pub changed: Vec<&'static str>,
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub fields: MemoryFields,
    #[serde(with = "time::serde::rfc3339")]
    pub written_at: OffsetDateTime,
    /// The id of the credential that wrote it; null where that was not kept.
    pub written_by: Option<String>,
}

impl MemoryVersion {
    /// Says what is new since the version before.
    pub fn compare(&mut self, before: &MemoryFields) {
        let now = &self.fields;
        let fields = [
            ("content", now.content != before.content),
            ("kind", now.kind != before.kind),
            ("key", now.key != before.key),
            ("tags", now.tags != before.tags),
            ("importance", now.importance != before.importance),
            ("metadata", now.metadata != before.metadata),
            ("speaker", now.speaker != before.speaker),
            ("source", now.source != before.source),
            ("occurred_at", now.occurred_at != before.occurred_at),
            ("expires_at", now.expires_at != before.expires_at),
        ];
        self.changed = fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect();
    }
}

/// That a memory was forgotten: all that remains of it.
#[derive(Debug, Clone, Serialize, ToSchema, FromRow)]
pub struct Forgetting {
    #[serde(with = "time::serde::rfc3339")]
    pub forgotten_at: OffsetDateTime,
    /// The id of the credential that did it.
    pub forgotten_by: String,
    #[serde(skip)]
    pub agent_uid: AgentUid,
}

/// Versions of a memory, newest first, of those before the given one.
pub async fn list(
    conn: &mut TenantConn,
    tenant: TenantId,
    id: MemoryId,
    before: Option<i32>,
    limit: i64,
) -> Result<Vec<MemoryVersion>> {
    let versions = sqlx::query_as(
        "SELECT * FROM (
             SELECT version, written_at, written_by, content, kind, key, tags, importance, metadata, speaker,
                    source_type, source_id, source_seq, occurred_at, expires_at
               FROM memory_history
              WHERE tenant_id = $1 AND memory_id = $2
              UNION ALL
             SELECT version, updated_at, CASE WHEN written_version = version THEN written_by END,
                    content, kind, key, tags, importance, metadata, speaker,
                    source_type, source_id, source_seq, occurred_at, expires_at
               FROM memories
              WHERE tenant_id = $1 AND memory_id = $2) versions
          WHERE $3::integer IS NULL OR version < $3
          ORDER BY version DESC
          LIMIT $4",
    )
    .bind(tenant)
    .bind(id)
    .bind(before)
    .bind(limit)
    .fetch_all(&mut **conn)
    .await?;
    Ok(versions)
}

pub async fn find_forgetting(conn: &mut TenantConn, tenant: TenantId, id: MemoryId) -> Result<Option<Forgetting>> {
    let forgetting = sqlx::query_as(
        "SELECT forgotten_at, forgotten_by, agent_uid
           FROM forgotten_memories
          WHERE tenant_id = $1 AND memory_id = $2",
    )
    .bind(tenant)
    .bind(id)
    .fetch_optional(&mut **conn)
    .await?;
    Ok(forgetting)
}
