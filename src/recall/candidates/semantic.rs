//! The semantic side: the memories nearest to a vector.

use std::collections::HashSet;

use pgvector::HalfVector;
use sqlx::{FromRow, QueryBuilder};

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{MemoryId, ScopeId};
use crate::recall::candidates::{Search, indexed};

/// Up to this many dimensions a vector fits into a row of the covering index; the literal is its predicate.
const INDEXED_DIMS: usize = 1280;
/// Rows to ask for at first, for each memory that is wanted: it has one for each of its windows and scopes.
const ROWS_EACH: usize = 4;

/// A window of a memory in a scope.
#[derive(Debug, Clone, FromRow)]
pub struct Near {
    pub memory_id: MemoryId,
    pub scope_id: ScopeId,
    pub distance: f64,
}

/// What was found near a vector.
#[derive(Debug, Default)]
pub struct Nearest {
    /// Nearest first.
    pub memories: Vec<(MemoryId, ScopeId)>,
    /// Whether an index was asked that may miss some of them.
    pub approximate: bool,
}

/// The memories nearest to a vector, each once: as many as are wanted, or all there are. In scopes without an index
/// of their own every placement is compared.
pub async fn nearest(conn: &mut TenantConn, search: &Search<'_>, vector: &HalfVector) -> Result<Nearest> {
    let large = indexed::scopes(conn, search, vector.as_slice().len()).await?;
    let (mut found, mut approximate) = (Vec::new(), false);
    let mut compared: Vec<ScopeId> = search.scopes.iter().copied().filter(|scope| !large.contains(scope)).collect();
    for scope in large {
        match indexed::nearest(conn, search, scope, vector).await? {
            Some(near) => {
                approximate = true;
                found.extend(near);
            }
            None => compared.push(scope),
        }
    }
    if !compared.is_empty() {
        found.extend(exact(conn, &Search { scopes: &compared, ..*search }, vector).await?);
    }
    Ok(Nearest { memories: merged(found, search), approximate })
}

/// Of equally near ones the newest, and of its places the first that was asked for: the same every time.
fn merged(mut found: Vec<Near>, search: &Search<'_>) -> Vec<(MemoryId, ScopeId)> {
    let place = |near: &Near| search.scopes.iter().position(|scope| *scope == near.scope_id);
    found.sort_by(|a, b| {
        let nearer = a.distance.total_cmp(&b.distance).then(b.memory_id.cmp(&a.memory_id));
        nearer.then_with(|| place(a).cmp(&place(b)))
    });
    let mut seen = HashSet::new();
    let memories = found.into_iter().map(|near| (near.memory_id, near.scope_id));
    memories.filter(|(id, _)| seen.insert(*id)).take(search.depth).collect()
}

/// Every placement is compared.
async fn exact(conn: &mut TenantConn, search: &Search<'_>, vector: &HalfVector) -> Result<Vec<Near>> {
    let mut limit = search.depth * ROWS_EACH;
    loop {
        let rows = nearest_placements(conn, search, vector, limit).await?;
        let distinct: HashSet<MemoryId> = rows.iter().map(|near| near.memory_id).collect();
        if rows.len() < limit || distinct.len() >= search.depth {
            return Ok(rows);
        }
        limit *= 4;
    }
}

async fn nearest_placements(
    conn: &mut TenantConn,
    search: &Search<'_>,
    vector: &HalfVector,
    limit: usize,
) -> Result<Vec<Near>> {
    let indexed = if vector.as_slice().len() <= INDEXED_DIMS { "p.dims <= 1280" } else { "true" };
    let mut sql = QueryBuilder::new("SELECT p.memory_id, s.scope_id, p.embedding <=> ");
    sql.push_bind(vector.clone()).push(" AS distance FROM");
    search.push_placements(&mut sql, "p.embedding FROM placements", &[indexed]);
    sql.push(" WHERE true");
    search.push_filter(&mut sql);
    // The same order as at the end: of equals, the limit must not keep the wrong ones.
    sql.push(" ORDER BY distance, p.memory_id DESC, s.place LIMIT ").push_bind(limit as i64);
    Ok(sql.build_query_as().fetch_all(&mut **conn).await?)
}
