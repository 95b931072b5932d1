//! Frequent recalls: counts by keyed hash, and sealed requests where the tenant lets them be kept.

use sqlx::FromRow;
use time::OffsetDateTime;

use crate::cache::Digest;
use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{ScopeId, TenantId};
use crate::usage::Query;

/// Questions of a tenant that are told apart in an hour.
const MOST_AN_HOUR: i64 = 1_000;

/// Whether the tenant lets requests be kept at this moment, which holds until the commit.
pub async fn may_keep_texts(conn: &mut TenantConn, tenant: TenantId) -> Result<bool> {
    let keep = sqlx::query_scalar("SELECT keep_queries FROM tenants WHERE tenant_id = $1 FOR SHARE");
    Ok(keep.bind(tenant).fetch_optional(&mut **conn).await?.unwrap_or(false))
}

/// Adds to the counts of this hour. A request that is kept stays.
pub async fn add_queries(conn: &mut TenantConn, tenant: TenantId, queries: &[Query]) -> Result<()> {
    let column = |of: fn(&Query) -> i64| queries.iter().map(of).collect::<Vec<_>>();
    sqlx::query(
        "INSERT INTO usage_queries AS u (tenant_id, at, scope_id, digest, recalls, hits, sealed)
         SELECT $1, date_trunc('hour', now()), scope_id, digest, recalls, hits, sealed
           FROM unnest($2::uuid[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bytea[])
                AS noted (scope_id, digest, recalls, hits, sealed)
          ORDER BY scope_id, digest
             ON CONFLICT ON CONSTRAINT usage_queries_pkey
             DO UPDATE SET recalls = u.recalls + excluded.recalls,
                           hits = u.hits + excluded.hits,
                           sealed = coalesce(u.sealed, excluded.sealed)",
    )
    .bind(tenant)
    .bind(queries.iter().map(|query| query.scope).collect::<Vec<_>>())
    .bind(queries.iter().map(|query| query.digest.bytes().to_vec()).collect::<Vec<_>>())
    .bind(column(|query| query.recalls))
    .bind(column(|query| query.hits))
    .bind(queries.iter().map(|query| query.sealed.clone()).collect::<Vec<_>>())
    .execute(&mut **conn)
    .await?;
    Ok(())
}

/// Of this hour, deletes what was asked least, beyond what is told apart.
pub async fn trim_queries(conn: &mut TenantConn, tenant: TenantId) -> Result<()> {
    // Locked in the order in which they are added to.
    sqlx::query(
        "DELETE FROM usage_queries u
          USING (SELECT q.at, q.scope_id, q.digest
                   FROM usage_queries q
                  WHERE q.tenant_id = $1 AND q.at = date_trunc('hour', now())
                    AND (q.scope_id, q.digest) IN (
                        SELECT scope_id, digest FROM usage_queries
                         WHERE tenant_id = $1 AND at = date_trunc('hour', now())
                         ORDER BY recalls DESC, scope_id, digest
                        OFFSET $2)
                  ORDER BY q.scope_id, q.digest
                    FOR UPDATE) rare
          WHERE u.tenant_id = $1 AND u.at = rare.at AND u.scope_id = rare.scope_id AND u.digest = rare.digest",
    )
    .bind(tenant)
    .bind(MOST_AN_HOUR)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

#[derive(FromRow)]
struct Row {
    scope_id: ScopeId,
    digest: Vec<u8>,
    recalls: i64,
    hits: i64,
    hours: i64,
    sealed: Option<Vec<u8>>,
}

/// What was asked most since then, at most a day ago: of these scopes, or of all of the tenant.
pub async fn top_queries(
    conn: &mut TenantConn,
    tenant: TenantId,
    scopes: Option<&[ScopeId]>,
    since: OffsetDateTime,
    most: i64,
) -> Result<Vec<Query>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT scope_id, digest, sum(recalls)::bigint AS recalls, sum(hits)::bigint AS hits, count(*) AS hours,
                (array_agg(sealed ORDER BY at DESC) FILTER (WHERE sealed IS NOT NULL))[1] AS sealed
           FROM usage_queries
          WHERE tenant_id = $1 AND at >= greatest(date_trunc('hour', $3), now() - interval '25 hours')
            AND ($2::uuid[] IS NULL OR scope_id = ANY($2))
          GROUP BY scope_id, digest
          ORDER BY 3 DESC, digest
          LIMIT $4",
    )
    .bind(tenant)
    .bind(scopes)
    .bind(since)
    .bind(most)
    .fetch_all(&mut **conn)
    .await?;
    let query = |row: Row| {
        let Row { scope_id: scope, digest, recalls, hits, hours, sealed } = row;
        Some(Query { scope, digest: Digest::from_bytes(&digest)?, recalls, hits, hours, sealed })
    };
    Ok(rows.into_iter().filter_map(query).collect())
}

/// Deletes the requests that are kept of these scopes, or of all; what remains counts. Returns of how many.
pub async fn forget_texts(conn: &mut TenantConn, tenant: TenantId, scopes: Option<&[ScopeId]>) -> Result<u64> {
    let forgotten = sqlx::query(
        "UPDATE usage_queries
            SET sealed = NULL
          WHERE tenant_id = $1 AND sealed IS NOT NULL AND ($2::uuid[] IS NULL OR scope_id = ANY($2))",
    );
    Ok(forgotten.bind(tenant).bind(scopes).execute(&mut **conn).await?.rows_affected())
}
