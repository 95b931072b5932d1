//! SQL for how often circles are recalled from.

use std::collections::HashMap;

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{ScopeId, TenantId};

/// Adds these counts, by scope and minute since 1970, to what is there. Circles that are gone are left out.
pub async fn add(conn: &mut TenantConn, tenant: TenantId, counts: &HashMap<(ScopeId, i64), i64>) -> Result<()> {
    let scopes: Vec<ScopeId> = counts.keys().map(|(scope, _)| *scope).collect();
    let minutes: Vec<i64> = counts.keys().map(|(_, minute)| *minute).collect();
    let recalls: Vec<i64> = counts.values().copied().collect();
    // In one order, or two instances would wait for each other.
    sqlx::query(
        "INSERT INTO circle_recalls AS r (tenant_id, scope_id, minute, recalls)
         SELECT $1, noted.scope_id, to_timestamp(noted.minute * 60), noted.recalls
           FROM unnest($2::uuid[], $3::bigint[], $4::bigint[]) AS noted (scope_id, minute, recalls)
           JOIN circles c ON c.tenant_id = $1 AND c.content_scope = noted.scope_id
          ORDER BY noted.scope_id, noted.minute
            FOR KEY SHARE OF c
             ON CONFLICT ON CONSTRAINT circle_recalls_pkey DO UPDATE SET recalls = r.recalls + excluded.recalls",
    )
    .bind(tenant)
    .bind(scopes)
    .bind(minutes)
    .bind(recalls)
    .execute(&mut **conn)
    .await?;
    Ok(())
}
