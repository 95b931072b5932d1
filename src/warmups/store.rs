//! SQL of warm-ups beyond that of jobs: whose a scope is, and how warm-ups went.

use crate::auth::Place;
use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{ExternalId, ScopeId, TenantId};

/// Whose these scopes are: agents' own, or contents of circles. Those that are gone are left out.
pub async fn find_places(conn: &mut TenantConn, tenant: TenantId, scopes: &[ScopeId]) -> Result<Vec<(ScopeId, Place)>> {
    let rows: Vec<(ScopeId, bool, ExternalId)> = sqlx::query_as(
        "SELECT agent_uid, true, agent_id FROM agents WHERE tenant_id = $1 AND agent_uid = ANY($2)
          UNION ALL
         SELECT content_scope, false, circle_id FROM circles WHERE tenant_id = $1 AND content_scope = ANY($2)",
    )
    .bind(tenant)
    .bind(scopes)
    .fetch_all(&mut **conn)
    .await?;
    let place = |is_agent, id| if is_agent { Place::Agent(id) } else { Place::Circle(id) };
    Ok(rows.into_iter().map(|(scope, is_agent, id)| (scope, place(is_agent, id))).collect())
}
