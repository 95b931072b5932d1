//! SQL for API keys. The gate, which reads across tenants, has its own file.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, PgPool};
use time::OffsetDateTime;

use crate::auth::{Key, NewKey, PlainKey};
use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{AgentUid, ExternalId, KeyId, TenantId};

const SELECT: &str = "
    SELECT k.key_id, k.name, k.scopes, a.agent_id, k.created_at, k.expires_at, k.revoked_at, k.last_used_at,
           k.replaced_by
      FROM api_keys k
      LEFT JOIN agents a ON a.tenant_id = k.tenant_id AND a.agent_uid = k.agent_uid
     WHERE k.tenant_id = $1";

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
    .bind(new.scopes.names())
    .bind(agent)
    .bind(new.expires_at)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

/// A key with the name, the rights, the binding and the length of life of another.
pub async fn insert_successor(
    conn: &mut TenantConn,
    tenant: TenantId,
    key: &PlainKey,
    predecessor: KeyId,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO api_keys (tenant_id, key_id, name, secret_hash, scopes, agent_uid, expires_at)
         SELECT tenant_id, $2, name, $3, scopes, agent_uid, now() + (expires_at - created_at)
           FROM api_keys
          WHERE tenant_id = $1 AND key_id = $4",
    )
    .bind(tenant)
    .bind(key.id)
    .bind(key.hash().as_slice())
    .bind(predecessor)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

/// In the order in which they were made. `agent`: only what is bound to it.
pub async fn list(
    conn: &mut TenantConn,
    tenant: TenantId,
    agent: Option<AgentUid>,
    after: Option<KeyId>,
    limit: i64,
) -> Result<Vec<Key>> {
    let sql = format!(
        "{SELECT} AND ($2::uuid IS NULL OR k.agent_uid = $2) AND ($3::uuid IS NULL OR k.key_id > $3)
          ORDER BY k.key_id
          LIMIT $4"
    );
    let keys = sqlx::query_as(AssertSqlSafe(sql))
        .bind(tenant)
        .bind(agent)
        .bind(after)
        .bind(limit)
        .fetch_all(&mut **conn)
        .await?;
    Ok(keys)
}

pub async fn find(conn: &mut TenantConn, tenant: TenantId, key: KeyId) -> Result<Option<Key>> {
    let sql = format!("{SELECT} AND k.key_id = $2");
    let key = sqlx::query_as(AssertSqlSafe(sql)).bind(tenant).bind(key).fetch_optional(&mut **conn).await?;
    Ok(key)
}

/// The same, locked until the commit; false in `live` where it is revoked or has expired.
pub async fn find_for_update(conn: &mut TenantConn, tenant: TenantId, key: KeyId) -> Result<Option<(Key, bool)>> {
    let live = sqlx::query_scalar(
        "SELECT revoked_at IS NULL AND (expires_at IS NULL OR expires_at > statement_timestamp())
           FROM api_keys
          WHERE tenant_id = $1 AND key_id = $2
            FOR NO KEY UPDATE",
    )
    .bind(tenant)
    .bind(key)
    .fetch_optional(&mut **conn)
    .await?;
    let Some(live) = live else {
        return Ok(None);
    };
    Ok(find(conn, tenant, key).await?.map(|key| (key, live)))
}

/// Gives the key a successor and an end, which may be sooner already.
pub async fn update_replaced(
    conn: &mut TenantConn,
    tenant: TenantId,
    key: KeyId,
    successor: KeyId,
    overlap_secs: i64,
) -> Result<()> {
    sqlx::query(
        "UPDATE api_keys
            SET replaced_by = $3, expires_at = least(expires_at, now() + make_interval(secs => $4))
          WHERE tenant_id = $1 AND key_id = $2",
    )
    .bind(tenant)
    .bind(key)
    .bind(successor)
    .bind(overlap_secs as f64)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

/// Moves the time of last use on, where it is five minutes old.
pub async fn update_last_used(
    conn: &mut TenantConn,
    tenant: TenantId,
    uses: &HashMap<KeyId, OffsetDateTime>,
) -> Result<()> {
    let (keys, times): (Vec<KeyId>, Vec<OffsetDateTime>) = uses.iter().unzip();
    sqlx::query(
        "UPDATE api_keys k
            SET last_used_at = used.at
           FROM unnest($2::uuid[], $3::timestamptz[]) AS used (key_id, at)
          WHERE k.tenant_id = $1 AND k.key_id = used.key_id
            AND (k.last_used_at IS NULL OR k.last_used_at < used.at - interval '5 minutes')",
    )
    .bind(tenant)
    .bind(keys)
    .bind(times)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

/// Whether there was such a key to revoke, among those of `agent` if one is given.
pub async fn update_revoked(
    conn: &mut TenantConn,
    tenant: TenantId,
    key: KeyId,
    agent: Option<AgentUid>,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE api_keys
            SET revoked_at = now()
          WHERE tenant_id = $1 AND key_id = $2 AND ($3::uuid IS NULL OR agent_uid = $3) AND revoked_at IS NULL",
    )
    .bind(tenant)
    .bind(key)
    .bind(agent)
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

pub async fn find_agent(conn: &mut TenantConn, tenant: TenantId, agent: &ExternalId) -> Result<Option<AgentUid>> {
    let uid = sqlx::query_scalar("SELECT agent_uid FROM agents WHERE tenant_id = $1 AND agent_id = $2")
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
