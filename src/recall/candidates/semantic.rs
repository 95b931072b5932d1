//! The semantic side: the memories nearest to a vector.

use std::collections::HashSet;

use pgvector::HalfVector;
use sqlx::QueryBuilder;

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{MemoryId, ScopeId};
use crate::recall::candidates::Search;

/// Up to this many dimensions a vector fits into a row of the covering index; the literal is its predicate.
const INDEXED_DIMS: usize = 1280;
/// Rows to ask for at first, for each memory that is wanted: it has one for each of its windows and scopes.
const ROWS_EACH: usize = 4;

/// The memories nearest to a vector, each once, nearest first. Exact: every placement is compared.
pub async fn nearest(
    conn: &mut TenantConn,
    search: &Search<'_>,
    vector: &HalfVector,
) -> Result<Vec<(MemoryId, ScopeId)>> {
    let mut limit = search.depth * ROWS_EACH;
    loop {
        let rows = nearest_placements(conn, search, vector, limit).await?;
        let exhausted = rows.len() < limit;
        let mut seen = HashSet::new();
        let mut distinct: Vec<_> = rows.into_iter().filter(|(id, _)| seen.insert(*id)).collect();
        if exhausted || distinct.len() >= search.depth {
            distinct.truncate(search.depth);
            return Ok(distinct);
        }
        limit *= 4;
    }
}

async fn nearest_placements(
    conn: &mut TenantConn,
    search: &Search<'_>,
    vector: &HalfVector,
    limit: usize,
) -> Result<Vec<(MemoryId, ScopeId)>> {
    let indexed = if vector.as_slice().len() <= INDEXED_DIMS { "p.dims <= 1280" } else { "true" };
    let mut sql = QueryBuilder::new("SELECT p.memory_id, s.scope_id FROM");
    search.push_placements(&mut sql, "p.embedding FROM placements", &[indexed]);
    sql.push(" WHERE true");
    search.push_filter(&mut sql);
    sql.push(" ORDER BY p.embedding <=> ").push_bind(vector.clone());
    // Of equally near ones the newest, and of its places the first that was asked for: the same every time.
    sql.push(", p.memory_id DESC, s.place LIMIT ").push_bind(limit as i64);
    Ok(sql.build_query_as().fetch_all(&mut **conn).await?)
}
