//! What proves an answer fresh, read in the snapshot that the answer is computed from.

use sqlx::FromRow;
use time::OffsetDateTime;

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{ScopeId, Tag, TenantId};

#[derive(Debug, FromRow)]
pub struct Proof {
    pub tenant_tag: Option<Tag>,
    /// Of the agent that asks, if one does.
    pub agent_tag: Option<Tag>,
    /// Of the scopes, in the order asked for.
    pub tags: Vec<Option<Tag>>,
    pub now: OffsetDateTime,
    /// When the next memory of the scopes expires: from then on the answer may be another.
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
                        LEFT JOIN scope_epochs e ON e.tenant_id = $1 AND e.scope_id = s.scope_id
                       ORDER BY s.place) AS tags,
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
}
