//! SQL that an index is built from and kept up to date by. All of it runs in one snapshot, so that what is read is one
//! commit of each scope.

use std::collections::HashMap;

use pgvector::HalfVector;
use serde_json::Value;
use sqlx::{AssertSqlSafe, FromRow};
use time::OffsetDateTime;

use super::scope::Placed;
use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{MemoryId, ScopeId, Tag, TenantId};
use crate::memories::{Filterable, Kind, Thread};

/// A scope as the snapshot has it.
#[derive(Debug, Clone, FromRow)]
pub struct Head {
    pub scope_id: ScopeId,
    pub tag: Tag,
    pub n: i64,
    /// Notes of removals up to this commit may be gone.
    pub floor_n: i64,
    pub postmaster: OffsetDateTime,
}

/// Scopes that are gone have none.
pub async fn heads(conn: &mut TenantConn, tenant: TenantId, scopes: &[ScopeId]) -> Result<Vec<Head>> {
    let heads = sqlx::query_as(
        "SELECT e.scope_id, e.tag, e.n, e.floor_n, pg_postmaster_start_time() AS postmaster
           FROM scope_epochs e
          WHERE e.tenant_id = $1 AND e.scope_id = ANY($2)",
    );
    Ok(heads.bind(tenant).bind(scopes).fetch_all(&mut **conn).await?)
}

/// How many memories came to a scope, or changed in it, after a commit; of more than `most`, one more is counted.
pub async fn changed(
    conn: &mut TenantConn,
    tenant: TenantId,
    (scope, since): (ScopeId, i64),
    most: usize,
) -> Result<usize> {
    let changed: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT FROM placement_terms WHERE tenant_id = $1 AND scope_id = $2 AND n > $3 LIMIT $4) AS c",
    )
    .bind(tenant)
    .bind(scope)
    .bind(since)
    .bind(most as i64 + 1)
    .fetch_one(&mut **conn)
    .await?;
    Ok(changed as usize)
}

/// What left these scopes after the commit given with each.
pub async fn removals(
    conn: &mut TenantConn,
    tenant: TenantId,
    since: &[(ScopeId, i64)],
) -> Result<HashMap<ScopeId, Vec<MemoryId>>> {
    let (scopes, numbers): (Vec<ScopeId>, Vec<i64>) = since.iter().copied().unzip();
    let rows: Vec<(ScopeId, MemoryId)> = sqlx::query_as(
        "SELECT r.scope_id, r.memory_id
           FROM unnest($2::uuid[], $3::bigint[]) AS s (scope_id, n)
          CROSS JOIN LATERAL (SELECT o.scope_id, o.memory_id
                                FROM scope_removals o
                               WHERE o.tenant_id = $1 AND o.scope_id = s.scope_id AND o.n > s.n OFFSET 0) AS r",
    )
    .bind(tenant)
    .bind(scopes)
    .bind(numbers)
    .fetch_all(&mut **conn)
    .await?;
    let mut removals: HashMap<ScopeId, Vec<MemoryId>> = HashMap::new();
    rows.into_iter().for_each(|(scope, id)| removals.entry(scope).or_default().push(id));
    Ok(removals)
}

#[derive(FromRow)]
struct Row {
    scope_id: ScopeId,
    memory_id: MemoryId,
    expires_at: Option<OffsetDateTime>,
    terms: Vec<i32>,
    thread: Option<i64>,
    seq: Option<i64>,
    kind: Kind,
    tags: Vec<String>,
    author: String,
    speaker: Option<String>,
    source_id: Option<String>,
    key: Option<String>,
    importance: f64,
    created_at: OffsetDateTime,
    occurred_at: Option<OffsetDateTime>,
    /// None for an empty object, which most have.
    metadata: Option<Value>,
}

/// The memories of many placements.
const JOINED: &str = "
    JOIN memories m ON m.tenant_id = $1 AND m.memory_id = t.memory_id
    JOIN agents a ON a.tenant_id = $1 AND a.agent_uid = m.agent_uid";

/// Those of a few, one by one: of tables that have grown since they were last counted, Postgres guesses that reading
/// all of an agent's memories would be quicker. OFFSET 0 keeps the lookups apart.
const LOOKED_UP: &str = "
    CROSS JOIN LATERAL (SELECT * FROM memories o WHERE o.tenant_id = $1 AND o.memory_id = t.memory_id OFFSET 0) AS m
    CROSS JOIN LATERAL (SELECT * FROM agents o WHERE o.tenant_id = $1 AND o.agent_uid = m.agent_uid OFFSET 0) AS a";

/// What was placed in these scopes, or changed there, after the commit given with each.
pub async fn placements(
    conn: &mut TenantConn,
    tenant: TenantId,
    since: &[(ScopeId, i64)],
) -> Result<HashMap<ScopeId, Vec<Placed>>> {
    let (scopes, numbers): (Vec<ScopeId>, Vec<i64>) = since.iter().copied().unzip();
    let memories = if numbers.contains(&NOTHING) { JOINED } else { LOOKED_UP };
    let sql = format!(
        "SELECT t.scope_id, t.memory_id, t.expires_at, t.terms, t.thread, t.seq,
                m.kind, m.tags, a.agent_id AS author, m.speaker, m.source_id, m.key,
                m.importance, m.created_at, m.occurred_at, nullif(m.metadata, '{{}}') AS metadata
           FROM unnest($2::uuid[], $3::bigint[]) AS s (scope_id, n)
          CROSS JOIN LATERAL (SELECT *
                                FROM placement_terms o
                               WHERE o.tenant_id = $1 AND o.scope_id = s.scope_id AND o.n > s.n OFFSET 0) AS t
          {memories}"
    );
    let rows = sqlx::query_as(AssertSqlSafe(sql)).bind(tenant).bind(scopes).bind(numbers);
    let rows: Vec<Row> = rows.fetch_all(&mut **conn).await?;
    let mut vectors = vectors(conn, tenant, since, &rows).await?;
    let mut placed: HashMap<ScopeId, Vec<Placed>> = HashMap::new();
    for row in rows {
        let vectors = vectors.remove(&(row.scope_id, row.memory_id)).unwrap_or_default();
        placed.entry(row.scope_id).or_default().push(row.placed(vectors));
    }
    // In the order of time, which is also that of the threads mostly.
    placed.values_mut().for_each(|placed| placed.sort_unstable_by_key(|one| one.id));
    Ok(placed)
}

impl Row {
    fn placed(self, vectors: Vec<HalfVector>) -> Placed {
        Placed {
            id: self.memory_id,
            expires_at: self.expires_at,
            terms: self.terms,
            thread: self.thread.zip(self.seq).map(|(key, seq)| Thread { key, seq }),
            columns: Filterable {
                kind: self.kind,
                tags: self.tags,
                author: self.author,
                speaker: self.speaker,
                source_id: self.source_id,
                key: self.key,
                importance: self.importance,
                created_at: self.created_at,
                occurred_at: self.occurred_at,
                metadata: self.metadata,
            },
            vectors,
        }
    }
}

type Windows = HashMap<(ScopeId, MemoryId), Vec<HalfVector>>;

/// The vectors of these placements, windows in order: by the scope where it is read whole, else by memory.
async fn vectors(conn: &mut TenantConn, tenant: TenantId, since: &[(ScopeId, i64)], rows: &[Row]) -> Result<Windows> {
    let whole: Vec<ScopeId> = since.iter().filter(|(_, n)| *n == NOTHING).map(|(scope, _)| *scope).collect();
    let changed = rows.iter().filter(|row| !whole.contains(&row.scope_id));
    let (scopes, ids): (Vec<ScopeId>, Vec<MemoryId>) = changed.map(|row| (row.scope_id, row.memory_id)).unzip();
    let mut windows = Windows::with_capacity(rows.len());
    if !whole.is_empty() {
        let sql = "SELECT p.scope_id, p.memory_id, p.window_no, p.embedding
                     FROM placements p WHERE p.tenant_id = $1 AND p.scope_id = ANY($2)";
        collect(&mut windows, sqlx::query_as(sql).bind(tenant).bind(whole).fetch_all(&mut **conn).await?);
    }
    if !ids.is_empty() {
        let sql = "SELECT p.scope_id, p.memory_id, p.window_no, p.embedding
                     FROM unnest($2::uuid[], $3::uuid[]) AS c (scope_id, memory_id)
                    CROSS JOIN LATERAL (
                          SELECT *
                            FROM placements o
                           WHERE o.tenant_id = $1 AND o.scope_id = c.scope_id AND o.memory_id = c.memory_id OFFSET 0) AS p";
        collect(&mut windows, sqlx::query_as(sql).bind(tenant).bind(scopes).bind(ids).fetch_all(&mut **conn).await?);
    }
    Ok(windows)
}

fn collect(windows: &mut Windows, mut rows: Vec<(ScopeId, MemoryId, i16, HalfVector)>) {
    rows.sort_unstable_by_key(|(scope, id, window, _)| (*scope, *id, *window));
    for (scope, id, _, vector) in rows {
        windows.entry((scope, id)).or_default().push(vector);
    }
}

/// The commit before the first: everything came after it.
pub const NOTHING: i64 = -1;
