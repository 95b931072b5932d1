//! SQL for erasing tenants. The one store that deletes from the tables of others: whatever a tenant had.

use sqlx::{AssertSqlSafe, PgPool};

use crate::db::TenantConn;
use crate::erase::TenantReceipt;
use crate::error::Result;
use crate::ids::TenantId;

const SELECT: &str = "SELECT erased_tenant AS tenant_id, requested_at, finished_at, counts FROM tenant_erasures";

/// Notes that a tenant is to go; changes nothing if it is going already.
pub async fn insert(conn: &mut TenantConn, tenant: TenantId, requested_by: &str) -> Result<()> {
    sqlx::query("INSERT INTO tenant_erasures (erased_tenant, requested_by) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(tenant)
        .bind(requested_by)
        .execute(&mut **conn)
        .await?;
    Ok(())
}

pub async fn find(pool: &PgPool, tenant: TenantId) -> Result<Option<TenantReceipt>> {
    let sql = format!("{SELECT} WHERE erased_tenant = $1");
    Ok(sqlx::query_as(AssertSqlSafe(sql)).bind(tenant).fetch_optional(pool).await?)
}

/// Whether the erasure of this tenant was ever begun.
pub async fn exists(conn: &mut TenantConn, tenant: TenantId) -> Result<bool> {
    let exists = sqlx::query_scalar("SELECT EXISTS (SELECT FROM tenant_erasures WHERE erased_tenant = $1)");
    Ok(exists.bind(tenant).fetch_one(&mut **conn).await?)
}

/// Tenants whose erasure was begun and not finished.
pub async fn list_unfinished(pool: &PgPool) -> Result<Vec<TenantId>> {
    let unfinished = sqlx::query_scalar("SELECT erased_tenant FROM tenant_erasures WHERE finished_at IS NULL");
    Ok(unfinished.fetch_all(pool).await?)
}

pub async fn count(conn: &mut TenantConn, tenant: TenantId, table: &'static str) -> Result<i64> {
    let sql = format!("SELECT count(*) FROM {table} WHERE tenant_id = $1");
    Ok(sqlx::query_scalar(AssertSqlSafe(sql)).bind(tenant).fetch_one(&mut **conn).await?)
}

/// Deletes at most `limit` rows of a table and adds them to the receipt; returns how many.
pub async fn delete(conn: &mut TenantConn, tenant: TenantId, table: &'static str, limit: i64) -> Result<i64> {
    // `table` is one of a list in this feature and carries no SQL from outside.
    let sql = format!(
        "WITH gone AS (
             DELETE FROM {table}
              WHERE tenant_id = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE tenant_id = $1 LIMIT $2))
          RETURNING 1)
         SELECT count(*) FROM gone"
    );
    let gone: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).bind(tenant).bind(limit).fetch_one(&mut **conn).await?;
    if gone > 0 {
        update_counts(conn, tenant, table, gone).await?;
    }
    Ok(gone)
}

async fn update_counts(conn: &mut TenantConn, tenant: TenantId, table: &str, gone: i64) -> Result<()> {
    sqlx::query(
        "UPDATE tenant_erasures
            SET counts = counts || jsonb_build_object($2::text, coalesce((counts ->> $2)::bigint, 0) + $3)
          WHERE erased_tenant = $1",
    )
    .bind(tenant)
    .bind(table)
    .bind(gone)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

pub async fn update_finished(conn: &mut TenantConn, tenant: TenantId) -> Result<()> {
    sqlx::query("UPDATE tenant_erasures SET finished_at = coalesce(finished_at, now()) WHERE erased_tenant = $1")
        .bind(tenant)
        .execute(&mut **conn)
        .await?;
    Ok(())
}
