//! Adding up what was counted, rolling it up, and letting go of it. Names of tables and columns are those of this
//! feature and carry no SQL from outside.

use std::collections::HashSet;

use serde::Serialize;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, PgPool};

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{ScopeId, TenantId};
use crate::usage::Grain;
use crate::usage::store::table::Table;

/// Adds rows to those of this minute, by the database's clock. In one order, or two instances would wait for each other.
pub async fn add<Row: Serialize>(
    conn: &mut TenantConn,
    tenant: TenantId,
    table: &Table,
    rows: impl IntoIterator<Item = Row>,
) -> Result<()> {
    let rows: Vec<Row> = rows.into_iter().collect();
    if rows.is_empty() {
        return Ok(());
    }
    let (name, keys, columns) = (table.name, table.keys(), table.columns());
    let sql = format!(
        "INSERT INTO {name} AS u (tenant_id, grain, at, {keys}, {columns})
         SELECT $1, 'minute', date_trunc('minute', now()), {keys}, {columns}
           FROM jsonb_to_recordset($2) AS counted ({typed})
          ORDER BY {keys}
             ON CONFLICT ON CONSTRAINT {name}_pkey DO UPDATE SET {grown}",
        typed = table.typed(),
        grown = table.grown(),
    );
    let rows = Json(rows);
    sqlx::query(AssertSqlSafe(sql)).bind(tenant).bind(rows).execute(&mut **conn).await?;
    Ok(())
}

/// Those of these scopes that are still there: agents' own, and circles' contents and boards. They stay until the commit.
pub async fn live_scopes(conn: &mut TenantConn, tenant: TenantId, scopes: &[ScopeId]) -> Result<HashSet<ScopeId>> {
    let mut live = HashSet::new();
    for sql in [
        "SELECT agent_uid FROM agents WHERE tenant_id = $1 AND agent_uid = ANY($2) ORDER BY agent_uid FOR KEY SHARE",
        "SELECT content_scope FROM circles WHERE tenant_id = $1 AND content_scope = ANY($2) ORDER BY circle_uid FOR KEY SHARE",
        "SELECT board_scope FROM circles WHERE tenant_id = $1 AND board_scope = ANY($2) ORDER BY circle_uid FOR KEY SHARE",
        "SELECT scope_id FROM tenants WHERE tenant_id = $1 AND scope_id = ANY($2)",
    ] {
        let found: Vec<ScopeId> = sqlx::query_scalar(sql).bind(tenant).bind(scopes).fetch_all(&mut **conn).await?;
        live.extend(found);
    }
    Ok(live)
}

/// Makes rows of hours from minutes, or of days from hours: of all that are over and not made yet. Made anew they are the
/// same. Returns how many.
pub async fn roll_up(conn: &mut TenantConn, tenant: TenantId, table: &Table, to: Grain) -> Result<u64> {
    // What a day is made of was made by the hour before; the minute that is over may still be written to.
    let (from, end) = match to {
        Grain::Minute => return Ok(0),
        Grain::Hour => (Grain::Minute, "date_trunc('hour', now() - interval '1 minute')"),
        Grain::Day => (Grain::Hour, "date_trunc('day', now() - interval '1 minute')"),
    };
    let (name, keys, columns, unit) = (table.name, table.keys(), table.columns(), to.name());
    let (bounded, place) = match &table.bound {
        None => (keys.clone(), String::new()),
        Some(bound) => (
            format!("CASE WHEN place <= {} THEN {keys} ELSE '00000000-0000-0000-0000-000000000000' END", bound.most),
            format!(
                ", row_number() OVER (PARTITION BY date_trunc('{unit}', at) ORDER BY sum({}) DESC, {keys}) AS place",
                bound.by
            ),
        ),
    };
    let sql = format!(
        "INSERT INTO {name} AS u (tenant_id, grain, at, {keys}, {columns})
         SELECT $1, '{unit}', begins, {bounded}, {summed}
           FROM (SELECT date_trunc('{unit}', at) AS begins, {keys}, {summed} {place}
                   FROM {name}
                  WHERE tenant_id = $1 AND grain = $2 AND at < {end}
                    AND at >= coalesce((SELECT max(at) + interval '1 {unit}' FROM {name}
                                         WHERE tenant_id = $1 AND grain = '{unit}'), '-infinity')
                  GROUP BY 1, {keys}) whole
          GROUP BY begins, {group}
             ON CONFLICT ON CONSTRAINT {name}_pkey DO UPDATE SET {replaced}",
        summed = table.summed(),
        // By place in the list: a column of the table that is filled has the same name.
        group = (4..4 + table.keys.len()).map(|place| place.to_string()).collect::<Vec<_>>().join(", "),
        replaced = table.replaced(),
    );
    let rolled = sqlx::query(AssertSqlSafe(sql)).bind(tenant).bind(from.name()).execute(&mut **conn).await?;
    Ok(rolled.rows_affected())
}

/// Deletes rows of a grain that are older than anybody can ask for; returns how many.
pub async fn delete_old(conn: &mut TenantConn, tenant: TenantId, table: &Table, grain: Grain) -> Result<u64> {
    let sql = format!(
        "DELETE FROM {} WHERE tenant_id = $1 AND grain = $2 AND at < now() - make_interval(days => $3)",
        table.name
    );
    let days = grain.kept().whole_days() as i32;
    let deleted = sqlx::query(AssertSqlSafe(sql)).bind(tenant).bind(grain.name()).bind(days);
    Ok(deleted.execute(&mut **conn).await?.rows_affected())
}

/// Frequent recalls of more than a day ago, and snapshots that nobody can ask for any more.
pub async fn delete_old_queries(conn: &mut TenantConn, tenant: TenantId) -> Result<u64> {
    let mut deleted = 0;
    for sql in [
        "DELETE FROM usage_queries WHERE tenant_id = $1 AND at < now() - interval '25 hours'",
        "DELETE FROM usage_days WHERE tenant_id = $1 AND day < current_date - 800",
    ] {
        deleted += sqlx::query(sql).bind(tenant).execute(&mut **conn).await?.rows_affected();
    }
    Ok(deleted)
}

/// Deletes what is counted of agents or circles that go. Totals keep what was theirs: it goes to those not told apart.
pub async fn forget_scopes(conn: &mut TenantConn, tenant: TenantId, scopes: &[ScopeId]) -> Result<()> {
    sqlx::query(
        "INSERT INTO usage_agents AS u (tenant_id, grain, at, agent_uid, recalls, hits)
         SELECT $1, grain, at, '00000000-0000-0000-0000-000000000000', sum(recalls), sum(hits)
           FROM usage_agents
          WHERE tenant_id = $1 AND agent_uid = ANY($2)
          GROUP BY grain, at
          ORDER BY grain, at
             ON CONFLICT ON CONSTRAINT usage_agents_pkey
             DO UPDATE SET recalls = u.recalls + excluded.recalls, hits = u.hits + excluded.hits",
    )
    .bind(tenant)
    .bind(scopes)
    .execute(&mut **conn)
    .await?;
    for sql in [
        "DELETE FROM usage_agents WHERE tenant_id = $1 AND agent_uid = ANY($2)",
        "DELETE FROM usage_scopes WHERE tenant_id = $1 AND scope_id = ANY($2)",
        "DELETE FROM usage_queries WHERE tenant_id = $1 AND scope_id = ANY($2)",
    ] {
        sqlx::query(sql).bind(tenant).bind(scopes).execute(&mut **conn).await?;
    }
    Ok(())
}

/// Every tenant that is not on its way out.
pub async fn tenants(pool: &PgPool) -> Result<Vec<TenantId>> {
    Ok(sqlx::query_scalar("SELECT * FROM usage_tenants()").fetch_all(pool).await?)
}
