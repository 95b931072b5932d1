//! What a tenant used, day by day.

use std::collections::HashMap;

use sqlx::AssertSqlSafe;
use time::{Date, Duration};

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::TenantId;
use crate::usage::store::table::{AGENTS, KINDS};
use crate::usage::{DayUse, Grain, Stored};

/// What is stored now, by the totals that a quota needs, if there are any.
pub async fn find_totals(conn: &mut TenantConn, tenant: TenantId) -> Result<Option<Stored>> {
    let totals = sqlx::query_as(
        "SELECT (SELECT count(*) FROM agents WHERE tenant_id = $1) AS agents, memories, bytes, now() AS counted_at
           FROM tenant_totals
          WHERE tenant_id = $1",
    );
    Ok(totals.bind(tenant).fetch_optional(&mut **conn).await?)
}

/// The same, row by row.
pub async fn count(conn: &mut TenantConn, tenant: TenantId) -> Result<Stored> {
    let counted = sqlx::query_as(
        "SELECT (SELECT count(*) FROM agents WHERE tenant_id = $1) AS agents, count(*) AS memories,
                coalesce(sum(octet_length(content)), 0)::bigint AS bytes, now() AS counted_at
           FROM memories
          WHERE tenant_id = $1",
    );
    Ok(counted.bind(tenant).fetch_one(&mut **conn).await?)
}

/// What was counted last, at the end of some day.
pub async fn last_stored(conn: &mut TenantConn, tenant: TenantId) -> Result<Option<Stored>> {
    let last = sqlx::query_as(
        "SELECT agents, memories, bytes, counted_at FROM usage_days WHERE tenant_id = $1 ORDER BY day DESC LIMIT 1",
    );
    Ok(last.bind(tenant).fetch_optional(&mut **conn).await?)
}

/// Whether somebody counted at the end of yesterday.
pub async fn is_counted(conn: &mut TenantConn, tenant: TenantId) -> Result<bool> {
    let counted =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM usage_days WHERE tenant_id = $1 AND day = current_date - 1)");
    Ok(counted.bind(tenant).fetch_one(&mut **conn).await?)
}

/// Keeps what is stored now as what was stored at the end of yesterday.
pub async fn insert_day(conn: &mut TenantConn, tenant: TenantId, stored: Stored) -> Result<()> {
    sqlx::query(
        "INSERT INTO usage_days (tenant_id, day, agents, memories, bytes)
         VALUES ($1, current_date - 1, $2, $3, $4)
             ON CONFLICT ON CONSTRAINT usage_days_pkey DO NOTHING",
    )
    .bind(tenant)
    .bind(stored.agents)
    .bind(stored.memories)
    .bind(stored.bytes)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

/// So many days up to and including today, in UTC and by the database's clock, the oldest first.
pub async fn days(conn: &mut TenantConn, tenant: TenantId, count: i64) -> Result<Vec<DayUse>> {
    let today: Date = sqlx::query_scalar("SELECT current_date").fetch_one(&mut **conn).await?;
    let first = today - Duration::days(count - 1);
    let stored = sqlx::query_as("SELECT day, memories, bytes FROM usage_days WHERE tenant_id = $1 AND day >= $2");
    let stored: Vec<(Date, i64, i64)> = stored.bind(tenant).bind(first).fetch_all(&mut **conn).await?;
    let stored: HashMap<Date, (i64, i64)> =
        stored.into_iter().map(|(day, memories, bytes)| (day, (memories, bytes))).collect();
    let recalled =
        by_day(conn, tenant, first, (AGENTS.name, "sum(recalls)", "sum(hits)", AGENTS.once(Grain::Day))).await?;
    let spent =
        by_day(conn, tenant, first, (KINDS.name, "sum(spent_tokens)", "sum(spent_calls)", KINDS.once(Grain::Day)))
            .await?;
    let day = |day: Date| {
        let (recalls, hits) = recalled.get(&day).copied().unwrap_or_default();
        let (embedding_tokens, _) = spent.get(&day).copied().unwrap_or_default();
        let (memories, bytes) = stored.get(&day).copied().unzip();
        DayUse { day, memories, bytes, recalls, hits, embedding_tokens }
    };
    Ok((0..count).map(|after| day(first + Duration::days(after))).collect())
}

async fn by_day(
    conn: &mut TenantConn,
    tenant: TenantId,
    first: Date,
    (table, one, other, once): (&str, &str, &str, String),
) -> Result<HashMap<Date, (i64, i64)>> {
    let sql = format!(
        "SELECT (u.at AT TIME ZONE 'UTC')::date, {one}::bigint, {other}::bigint
           FROM {table} u
          WHERE u.tenant_id = $1 AND u.grain IN ('minute', 'hour', 'day') AND u.at >= $2 AND {once}
          GROUP BY 1"
    );
    let rows: Vec<(Date, i64, i64)> =
        sqlx::query_as(AssertSqlSafe(sql)).bind(tenant).bind(first).fetch_all(&mut **conn).await?;
    Ok(rows.into_iter().map(|(day, one, other)| (day, (one, other))).collect())
}
