//! SQL for tenants, their secrets and their totals.

use sqlx::{AssertSqlSafe, PgPool};

use crate::db::TenantConn;
use crate::error::{Code, ConstraintExt, Error, Result};
use crate::ids::{ScopeId, Tag, TenantId};
use crate::tenants::model::{Settings, Status, Tenant, Usage};
use crate::tenants::quotas::Quotas;
use crate::words::Name;

const SELECT: &str = "
    SELECT tenant_id, name, status, embedding_pin, version, quota_memories, quota_bytes, quota_requests_per_second,
           quota_concurrent_requests, quota_embedding_tokens_per_minute, created_at, updated_at
      FROM tenants
     WHERE tenant_id = $1";

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

pub async fn find(conn: &mut TenantConn, tenant: TenantId) -> Result<Option<Tenant>> {
    Ok(sqlx::query_as(SELECT).bind(tenant).fetch_optional(&mut **conn).await?)
}

/// The same, locked until the commit.
pub async fn find_for_update(conn: &mut TenantConn, tenant: TenantId) -> Result<Option<Tenant>> {
    let sql = format!("{SELECT} FOR NO KEY UPDATE");
    Ok(sqlx::query_as(AssertSqlSafe(sql)).bind(tenant).fetch_optional(&mut **conn).await?)
}

pub async fn update(conn: &mut TenantConn, tenant: TenantId, status: Status, quotas: Quotas) -> Result<()> {
    sqlx::query(
        "UPDATE tenants
            SET status = $2,
                quota_memories = $3,
                quota_bytes = $4,
                quota_requests_per_second = $5,
                quota_concurrent_requests = $6,
                quota_embedding_tokens_per_minute = $7,
                version = version + 1,
                updated_at = now()
          WHERE tenant_id = $1",
    )
    .bind(tenant)
    .bind(status)
    .bind(quotas.memories)
    .bind(quotas.bytes)
    .bind(quotas.requests_per_second)
    .bind(quotas.concurrent_requests)
    .bind(quotas.embedding_tokens_per_minute)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

pub async fn find_settings(conn: &mut TenantConn, tenant: TenantId) -> Result<Option<Settings>> {
    let settings = sqlx::query_as(
        "SELECT auto_create_agents, keep_queries, rewarm, tokens_valid_from FROM tenants WHERE tenant_id = $1",
    );
    Ok(settings.bind(tenant).fetch_optional(&mut **conn).await?)
}

pub async fn update_settings(conn: &mut TenantConn, tenant: TenantId, settings: &Settings) -> Result<()> {
    sqlx::query(
        "UPDATE tenants
            SET auto_create_agents = $2, tokens_valid_from = $3, keep_queries = $4, rewarm = $5, version = version + 1, updated_at = now()
          WHERE tenant_id = $1",
    )
    .bind(tenant)
    .bind(settings.auto_create_agents)
    .bind(settings.tokens_valid_from)
    .bind(settings.keep_queries)
    .bind(settings.rewarm)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

/// Counts what is there, row by row.
pub async fn count(conn: &mut TenantConn, tenant: TenantId) -> Result<Usage> {
    let usage = sqlx::query_as(
        "SELECT (SELECT count(*) FROM agents WHERE tenant_id = $1) AS agents,
                count(*) AS memories,
                coalesce(sum(octet_length(content)), 0)::bigint AS bytes
           FROM memories
          WHERE tenant_id = $1",
    )
    .bind(tenant)
    .fetch_one(&mut **conn)
    .await?;
    Ok(usage)
}

/// From here on every writer adds to these totals.
pub async fn insert_totals(conn: &mut TenantConn, tenant: TenantId, usage: Usage) -> Result<()> {
    sqlx::query(
        "INSERT INTO tenant_totals (tenant_id, memories, bytes) VALUES ($1, $2, $3)
             ON CONFLICT (tenant_id) DO UPDATE SET memories = excluded.memories, bytes = excluded.bytes",
    )
    .bind(tenant)
    .bind(usage.memories)
    .bind(usage.bytes)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

pub async fn delete_totals(conn: &mut TenantConn, tenant: TenantId) -> Result<()> {
    let delete = sqlx::query("DELETE FROM tenant_totals WHERE tenant_id = $1");
    delete.bind(tenant).execute(&mut **conn).await?;
    Ok(())
}

/// A page of all tenants, by id: for the operator, across the borders.
pub async fn list(pool: &PgPool, after: Option<TenantId>, limit: i64) -> Result<Vec<Tenant>> {
    let rows = sqlx::query_as("SELECT * FROM platform_tenants($1, $2)");
    Ok(rows.bind(after).bind(limit).fetch_all(pool).await?)
}
