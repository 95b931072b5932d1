//! SQL for tenants and their secrets.

use sqlx::PgPool;

use crate::db::TenantConn;
use crate::error::{Code, ConstraintExt, Error, Result};
use crate::ids::{ScopeId, Tag, TenantId};
use crate::tenants::TenantSummary;
use crate::words::Name;

pub async fn insert(conn: &mut TenantConn, tenant: TenantId, name: &Name, scope: ScopeId, pin: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO tenants (tenant_id, name, scope_id, embedding_pin)
         VALUES ($1, $2, $3, $4)",
    )
    .bind(tenant)
    .bind(name)
    .bind(scope)
    .bind(pin)
    .execute(&mut **conn)
    .await
    .on_constraint("tenants_name_key", || {
        Error::refused(Code::IdTaken, format!("a tenant named {:?} exists already", name.as_str()))
    })?;
    sqlx::query("INSERT INTO scope_epochs (tenant_id, scope_id, tag) VALUES ($1, $2, $3)")
        .bind(tenant)
        .bind(scope)
        .bind(Tag::random())
        .execute(&mut **conn)
        .await?;
    Ok(())
}

pub async fn insert_secret(conn: &mut TenantConn, tenant: TenantId, purpose: &str, sealed: &[u8]) -> Result<()> {
    sqlx::query("INSERT INTO tenant_secrets (tenant_id, purpose, version, sealed) VALUES ($1, $2, 1, $3)")
        .bind(tenant)
        .bind(purpose)
        .bind(sealed)
        .execute(&mut **conn)
        .await?;
    Ok(())
}

/// Every tenant, by name: for the operator, across the borders.
pub async fn list(pool: &PgPool) -> Result<Vec<TenantSummary>> {
    let rows = sqlx::query_as("SELECT tenant_id, name, status, embedding_pin, created_at FROM platform_tenants()");
    Ok(rows.fetch_all(pool).await?)
}
