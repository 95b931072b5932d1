//! SQL of a flush: the scopes that are named, and the tenant's cache secret; and the names of scopes.

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{ExternalId, ScopeId, TenantId};

/// The scope of the tenant itself; every stamp has its tag.
pub async fn find_tenant_scope(conn: &mut TenantConn, tenant: TenantId) -> Result<ScopeId> {
    let scope = sqlx::query_scalar("SELECT scope_id FROM tenants WHERE tenant_id = $1");
    Ok(scope.bind(tenant).fetch_one(&mut **conn).await?)
}

/// Content and board of a circle, which is kept from going away until the commit.
pub async fn find_circle_scopes(
    conn: &mut TenantConn,
    tenant: TenantId,
    circle: &ExternalId,
) -> Result<Option<(ScopeId, ScopeId)>> {
    let scopes = sqlx::query_as(
        "SELECT content_scope, board_scope FROM circles WHERE tenant_id = $1 AND circle_id = $2 FOR KEY SHARE",
    );
    Ok(scopes.bind(tenant).bind(circle).fetch_optional(&mut **conn).await?)
}

/// Puts another secret in the place of the tenant's; the one before it is gone. The tenant's row must be locked.
pub async fn replace_cache_secret(conn: &mut TenantConn, tenant: TenantId, sealed: &[u8]) -> Result<()> {
    let version: i32 = sqlx::query_scalar(
        "INSERT INTO tenant_secrets (tenant_id, purpose, version, sealed)
         SELECT $1, 'cache', coalesce(max(version), 0) + 1, $2
           FROM tenant_secrets
          WHERE tenant_id = $1 AND purpose = 'cache'
      RETURNING version",
    )
    .bind(tenant)
    .bind(sealed)
    .fetch_one(&mut **conn)
    .await?;
    sqlx::query("DELETE FROM tenant_secrets WHERE tenant_id = $1 AND purpose = 'cache' AND version < $2")
        .bind(tenant)
        .bind(version)
        .execute(&mut **conn)
        .await?;
    Ok(())
}
