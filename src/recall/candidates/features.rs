//! What ranking needs to know about each candidate.

use std::collections::HashMap;

use pgvector::HalfVector;
use sqlx::FromRow;
use time::OffsetDateTime;

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{MemoryId, ScopeId};
use crate::memories::Thread;
use crate::recall::candidates::Search;
use crate::recall::rank::{Candidate, Similarity};

#[derive(FromRow)]
struct Row {
    memory_id: MemoryId,
    scope_id: ScopeId,
    thread: Option<i64>,
    seq: Option<i64>,
    importance: f64,
    created_at: OffsetDateTime,
    occurred_at: Option<OffsetDateTime>,
    speaker: Option<String>,
    vectors: Vec<HalfVector>,
}

/// The candidates with all that is compared: every one by meaning if there is a vector, and by words as found.
/// A memory is what it is in the first of the scopes that it is visible in.
pub async fn features(
    conn: &mut TenantConn,
    search: &Search<'_>,
    ids: Vec<MemoryId>,
    vector: Option<&HalfVector>,
    lexical: &HashMap<MemoryId, f64>,
) -> Result<Vec<Candidate>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT m.memory_id, first.scope_id, first.thread, first.seq, m.importance, m.created_at, m.occurred_at, m.speaker,
                CASE WHEN $4 THEN ARRAY(
                    SELECT p.embedding
                      FROM placements p
                     WHERE p.tenant_id = $1 AND p.scope_id = first.scope_id AND p.memory_id = m.memory_id
                     ORDER BY p.window_no)
                ELSE '{}'::halfvec[] END AS vectors
           FROM unnest($3::uuid[]) AS f (memory_id)
          CROSS JOIN LATERAL (
                SELECT * FROM memories o WHERE o.tenant_id = $1 AND o.memory_id = f.memory_id OFFSET 0) AS m
          CROSS JOIN LATERAL (
                SELECT t.scope_id, t.thread, t.seq
                  FROM unnest($2::uuid[]) WITH ORDINALITY AS s (scope_id, place)
                  JOIN placement_terms t
                    ON t.tenant_id = $1 AND t.scope_id = s.scope_id AND t.memory_id = f.memory_id
                 ORDER BY s.place
                 LIMIT 1) AS first",
    )
    .bind(search.tenant)
    .bind(search.scopes)
    .bind(ids)
    .bind(vector.is_some())
    .fetch_all(&mut **conn)
    .await?;
    let similarity = vector.map(|vector| Similarity::to(vector.as_slice()));
    let best = |windows: &[HalfVector]| {
        let cosines = windows.iter().filter_map(|window| Some(similarity.as_ref()?.of(window.as_slice())));
        cosines.max_by(f64::total_cmp)
    };
    let candidate = |row: Row| Candidate {
        id: row.memory_id,
        scope: row.scope_id,
        similarity: best(&row.vectors),
        lexical: lexical.get(&row.memory_id).copied(),
        importance: row.importance,
        created_at: row.created_at,
        occurred_at: row.occurred_at,
        speaker: row.speaker,
        thread: row.thread.zip(row.seq).map(|(key, seq)| Thread { key, seq }),
        vectors: row.vectors,
    };
    Ok(rows.into_iter().map(candidate).collect())
}

/// When the newest memory of the scopes was made; ids are in the order of time.
pub async fn newest(conn: &mut TenantConn, search: &Search<'_>) -> Result<Option<OffsetDateTime>> {
    let newest = sqlx::query_scalar(
        "SELECT n.created_at
           FROM unnest($2::uuid[]) AS s (scope_id)
          CROSS JOIN LATERAL (SELECT t.memory_id
                                FROM placement_terms t
                               WHERE t.tenant_id = $1 AND t.scope_id = s.scope_id
                                 AND (t.expires_at IS NULL OR t.expires_at > statement_timestamp())
                               ORDER BY t.memory_id DESC
                               LIMIT 1) AS t
          CROSS JOIN LATERAL (
                SELECT * FROM memories o WHERE o.tenant_id = $1 AND o.memory_id = t.memory_id OFFSET 0) AS n
          ORDER BY t.memory_id DESC
          LIMIT 1",
    );
    Ok(newest.bind(search.tenant).bind(search.scopes).fetch_optional(&mut **conn).await?)
}
