//! The memories of one large scope near a vector, by the index that the scope has of its own. It may miss some; it
//! never brings back fewer than there are: whoever is told that it has too few compares the whole scope instead.

use std::collections::HashSet;

use pgvector::HalfVector;
use sqlx::QueryBuilder;

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{MemoryId, ScopeId};
use crate::recall::candidates::Search;
use crate::recall::candidates::semantic::Near;
use crate::recall::scope_indexes::Vectors;

/// How many vectors the index keeps in view while it looks: with fewer it misses more, with more it takes longer.
const LEAST_IN_VIEW: usize = 400;
/// As many as pgvector allows.
const MOST_IN_VIEW: usize = 1_000;

/// Those of the scopes whose index is ready for vectors of this length.
pub async fn scopes(conn: &mut TenantConn, search: &Search<'_>, dims: usize) -> Result<Vec<ScopeId>> {
    let ready = sqlx::query_scalar(
        "SELECT scope_id FROM scope_indexes
          WHERE tenant_id = $1 AND scope_id = ANY($2) AND dims = $3 AND state = 'ready'",
    );
    Ok(ready.bind(search.tenant).bind(search.scopes).bind(dims as i32).fetch_all(&mut **conn).await?)
}

/// At least as many memories as are wanted, or none where too few of those in view are left by the filter. An index
/// that was dropped meanwhile is no error: Postgres then compares the whole scope.
pub async fn nearest(
    conn: &mut TenantConn,
    search: &Search<'_>,
    scope: ScopeId,
    vector: &HalfVector,
) -> Result<Option<Vec<Near>>> {
    let widest = MOST_IN_VIEW.max(search.depth * 4);
    // Without a filter only the windows of a memory are in each other's way; what a filter leaves is seen by a look.
    let first = if search.filter.is_empty() { search.depth * 3 / 2 } else { LEAST_IN_VIEW.max(search.depth) };
    for limit in [first, widest] {
        look_around(conn, limit).await?;
        let found = placements(conn, search, scope, vector, limit).await?;
        look_straight(conn).await?;
        let distinct: HashSet<MemoryId> = found.iter().map(|near| near.memory_id).collect();
        if distinct.len() >= search.depth {
            return Ok(Some(found));
        }
        // At this rate a wider look would be in vain.
        if distinct.len() * widest < search.depth * limit {
            break;
        }
    }
    Ok(None)
}

async fn placements(
    conn: &mut TenantConn,
    search: &Search<'_>,
    scope: ScopeId,
    vector: &HalfVector,
    limit: usize,
) -> Result<Vec<Near>> {
    let vectors = Vectors { tenant: search.tenant, scope, dims: vector.as_slice().len() as i32 };
    let (predicate, expression) = (vectors.predicate(), vectors.expression());
    let mut sql = QueryBuilder::new("SELECT p.memory_id, p.scope_id, p.distance FROM (SELECT memory_id, scope_id, ");
    sql.push(&expression).push(" <=> ").push_bind(vector.clone());
    sql.push(" AS distance FROM placements WHERE ").push(predicate);
    sql.push(" AND (expires_at IS NULL OR expires_at > statement_timestamp()) ORDER BY ").push(expression);
    sql.push(" <=> ").push_bind(vector.clone()).push(" LIMIT ").push_bind(limit as i64).push(") p WHERE true");
    search.push_filter(&mut sql);
    // Planned for these very values: a plan that serves all scopes could use the index of none.
    Ok(sql.build_query_as().persistent(false).fetch_all(&mut **conn).await?)
}

/// The index is used wherever it stands: what Postgres guesses of the size of a scope must not decide that.
async fn look_around(conn: &mut TenantConn, limit: usize) -> Result<()> {
    sqlx::query(
        "SELECT set_config('enable_sort', 'off', true), set_config('hnsw.iterative_scan', 'strict_order', true),
                set_config('hnsw.scan_mem_multiplier', '4', true), set_config('hnsw.ef_search', $1, true)",
    )
    .bind(limit.clamp(LEAST_IN_VIEW, MOST_IN_VIEW).to_string())
    .execute(&mut **conn)
    .await?;
    Ok(())
}

/// The statements after it are planned as ever.
async fn look_straight(conn: &mut TenantConn) -> Result<()> {
    sqlx::query("SELECT set_config('enable_sort', 'on', true)").execute(&mut **conn).await?;
    Ok(())
}
