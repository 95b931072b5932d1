//! SQL for API keys. The gate, which reads across tenants, has its own file.

use sqlx::PgPool;

use crate::auth::{KeySummary, NewKey, PlainKey};
use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{AgentUid, ExternalId, KeyId, TenantId};

pub async fn insert(
    conn: &mut TenantConn,
    tenant: TenantId,
    key: &PlainKey,
    new: &NewKey,
    agent: Option<AgentUid>,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO api_keys (tenant_id, key_id, name, secret_hash, scopes, agent_uid, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(tenant)
    .bind(key.id)
    .bind(&new.name)
    .bind(key.hash().as_slice())
    .bind(new.permissions.names())
    .bind(agent)
    .bind(new.expires_at)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

pub async fn list(conn: &mut TenantConn, tenant: TenantId) -> Result<Vec<KeySummary>> {
    let keys = sqlx::query_as(
        "SELECT k.key_id, k.name, k.scopes, a.agent_id, k.created_at, k.expires_at, k.revoked_at
           FROM api_keys k
           LEFT JOIN agents a ON a.tenant_id = k.tenant_id AND a.agent_uid = k.agent_uid
          WHERE k.tenant_id = $1
          ORDER BY k.key_id",
    )
    .bind(tenant)
    .fetch_all(&mut **conn)
    .await?;
    Ok(keys)
}

/// Whether there was such a key; revoking again changes nothing.
pub async fn revoke(conn: &mut TenantConn, tenant: TenantId, key: KeyId) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now())
          WHERE tenant_id = $1 AND key_id = $2",
    )
    .bind(tenant)
    .bind(key)
    .execute(&mut **conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Ends what is bound to an agent. The rows go: a key that outlived its binding would act for everyone.
pub async fn delete_agent_keys(conn: &mut TenantConn, tenant: TenantId, agent: AgentUid) -> Result<u64> {
    let done = sqlx::query("DELETE FROM api_keys WHERE tenant_id = $1 AND agent_uid = $2")
        .bind(tenant)
        .bind(agent)
        .execute(&mut **conn)
        .await?;
    Ok(done.rows_affected())
}

/// The agent that a key is to be bound to, kept from going away until the commit.
pub async fn lock_agent(conn: &mut TenantConn, tenant: TenantId, agent: &ExternalId) -> Result<Option<AgentUid>> {
    let uid = sqlx::query_scalar("SELECT agent_uid FROM agents WHERE tenant_id = $1 AND agent_id = $2 FOR KEY SHARE")
        .bind(tenant)
        .bind(agent)
        .fetch_optional(&mut **conn)
        .await?;
    Ok(uid)
}

/// Which tenant a key belongs to: for the operator, across the borders.
pub async fn key_tenant(pool: &PgPool, key: KeyId) -> Result<Option<TenantId>> {
    Ok(sqlx::query_scalar("SELECT platform_key_tenant($1)").bind(key).fetch_one(pool).await?)
}
