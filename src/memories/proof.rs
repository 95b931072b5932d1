//! What proves an answer fresh, read in the snapshot that the answer is computed from.

use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use time::OffsetDateTime;

use crate::db::{Db, TenantConn};
use crate::error::Result;
use crate::ids::{MemoryId, ScopeId, Tag, TenantId};
use crate::memories::model::Memory;

#[derive(Debug, FromRow)]
pub struct Proof {
    pub tenant_tag: Option<Tag>,
    /// Of the agent that asks, if one does.
    pub agent_tag: Option<Tag>,
    /// Of the scopes, in the order asked for.
    #[sqlx(rename = "tags_now")]
    pub tags: Vec<Option<Tag>>,
    pub now: OffsetDateTime,
    /// When the next memory of the scopes expires: from then on the answer may be another.
    #[sqlx(default)]
    pub next_expiry: Option<OffsetDateTime>,
}

impl Proof {
    /// Comes first in the snapshot: whatever expires while the rest is read is then in `next_expiry`.
    pub async fn read(
        conn: &mut TenantConn,
        tenant: TenantId,
        agent: Option<ScopeId>,
        scopes: &[ScopeId],
    ) -> Result<Self> {
        let proof = sqlx::query_as(
            "SELECT (SELECT e.tag
                   FROM tenants t
                   JOIN scope_epochs e ON e.tenant_id = t.tenant_id AND e.scope_id = t.scope_id
                  WHERE t.tenant_id = $1) AS tenant_tag,
                (SELECT e.tag FROM scope_epochs e WHERE e.tenant_id = $1 AND e.scope_id = $2) AS agent_tag,
                ARRAY(SELECT e.tag
                        FROM unnest($3::uuid[]) WITH ORDINALITY AS s (scope_id, place)
                        LEFT JOIN LATERAL (SELECT o.tag
                                             FROM scope_epochs o
                                            WHERE o.tenant_id = $1 AND o.scope_id = s.scope_id OFFSET 0) AS e ON true
                       ORDER BY s.place) AS tags_now,
                statement_timestamp() AS now,
                (SELECT min(soonest.at)
                   FROM unnest($3::uuid[]) AS s (scope_id),
                        LATERAL (SELECT min(p.expires_at) AS at
                                   FROM placement_terms p
                                  WHERE p.tenant_id = $1 AND p.scope_id = s.scope_id
                                    AND p.expires_at > statement_timestamp()) AS soonest) AS next_expiry",
        )
        .bind(tenant)
        .bind(agent)
        .bind(scopes)
        .fetch_one(&mut **conn)
        .await?;
        Ok(proof)
    }

    /// The tags, together with those of these memories that are there, in no particular order: one statement, which is
    /// one snapshot and one round trip. `circles` may be named by them. When a memory expires, it does not tell.
    pub async fn with_memories(
        db: &Db,
        tenant: TenantId,
        agent: Option<ScopeId>,
        (scopes, circles): (&[ScopeId], &[ScopeId]),
        wanted: &[MemoryId],
    ) -> Result<(Self, Vec<Memory>)> {
        let recalled = sqlx::query("SELECT * FROM recalled($1, $2, $3, $4, $5)");
        let recalled = recalled.bind(tenant).bind(agent).bind(scopes).bind(circles).bind(wanted);
        let rows = db.call(tenant).await?.rows(recalled).await?;
        let proof = Self::from_row(rows.first().ok_or(sqlx::Error::RowNotFound)?)?;
        Ok((proof, rows.iter().filter_map(memory).collect::<Result<_, _>>()?))
    }
}

/// None: the row says only what is proved.
fn memory(row: &PgRow) -> Option<Result<Memory, sqlx::Error>> {
    let id = row.try_get::<Option<MemoryId>, _>("memory_id").transpose()?;
    Some(id.and_then(|_| Memory::from_row(row)))
}
