//! Candidates: SQL that finds memories near a vector or sharing a word, within given scopes. All of it
//! runs in one snapshot and sees nothing outside those scopes.

use std::collections::HashSet;

use pgvector::HalfVector;
use sqlx::{FromRow, Postgres, QueryBuilder};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::db::TenantConn;
use crate::error::{Error, Result};
use crate::ids::{MemoryId, ScopeId, TenantId};
use crate::memories::MemoryFilter;
use crate::recall::rank::{Hit, Lexicon};

/// What is searched for, and where.
pub struct Search<'a> {
    pub tenant: TenantId,
    pub scopes: &'a [ScopeId],
    pub filter: &'a MemoryFilter,
    /// How many candidates each side hands over.
    pub depth: usize,
}

/// Up to this many dimensions a vector fits into a row of the covering index; the literal is its predicate.
const INDEXED_DIMS: usize = 1280;

impl Search<'_> {
    /// The condition that every candidate `p` (a placement) must meet.
    fn push_scope(&self, sql: &mut QueryBuilder<Postgres>) {
        sql.push(" p.tenant_id = ").push_bind(self.tenant);
        sql.push(" AND p.scope_id = ANY(").push_bind(self.scopes.to_vec()).push(")");
        sql.push(" AND (p.expires_at IS NULL OR p.expires_at > statement_timestamp())");
    }

    /// Orders the places of one memory as they were asked for.
    fn push_place(&self, sql: &mut QueryBuilder<Postgres>) {
        if self.scopes.len() > 1 {
            sql.push(", array_position(").push_bind(self.scopes.to_vec()).push(", p.scope_id)");
        }
    }

    fn push_filter(&self, sql: &mut QueryBuilder<Postgres>) {
        if !self.filter.is_empty() {
            sql.push(" AND EXISTS (SELECT FROM memories m WHERE m.tenant_id = ").push_bind(self.tenant);
            sql.push(" AND m.memory_id = p.memory_id");
            self.filter.push(sql, self.tenant);
            sql.push(")");
        }
    }
}

/// The memories nearest to a vector, each once, nearest first. Exact: every placement is compared.
pub async fn nearest(
    conn: &mut TenantConn,
    search: &Search<'_>,
    vector: &HalfVector,
) -> Result<Vec<(MemoryId, ScopeId)>> {
    // A memory of several windows or scopes comes up several times; ask for more until enough are different.
    let mut limit = search.depth;
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
    let mut sql = QueryBuilder::new("SELECT p.memory_id, p.scope_id FROM placements p WHERE");
    search.push_scope(&mut sql);
    if vector.as_slice().len() <= INDEXED_DIMS {
        sql.push(" AND p.dims <= 1280");
    }
    search.push_filter(&mut sql);
    sql.push(" ORDER BY p.embedding <=> ").push_bind(vector.clone());
    // Of equally near ones the newest, and of its places the first that was asked for: the same every time.
    sql.push(", p.memory_id DESC");
    search.push_place(&mut sql);
    sql.push(" LIMIT ").push_bind(limit as i64);
    Ok(sql.build_query_as().fetch_all(&mut **conn).await?)
}

#[derive(FromRow)]
struct LexiconRow {
    documents: i64,
    words: i64,
    /// The hits, one after the other: memory, scope, words.
    hits: Option<Vec<u8>>,
}

/// Every memory that shares a word with the question, and what BM25 needs to know about the rest. One row
/// comes back, whatever the number of hits: decoding thousands of rows would cost more than finding them.
pub async fn lexicon(conn: &mut TenantConn, search: &Search<'_>, terms: &[i32]) -> Result<Lexicon> {
    let mut sql = QueryBuilder::new(
        "SELECT count(*) AS documents,
                coalesce(sum(cardinality(p.terms)), 0)::bigint AS words,
                string_agg(uuid_send(p.memory_id) || uuid_send(p.scope_id) || array_send(p.terms), ''::bytea)
                    FILTER (WHERE p.terms && ",
    );
    sql.push_bind(terms.to_vec());
    search.push_filter(&mut sql);
    sql.push(") AS hits FROM ");
    if search.scopes.len() > 1 {
        // A memory visible in several of the scopes counts once, in the first of them.
        sql.push("(SELECT DISTINCT ON (p.memory_id) p.* FROM placement_terms p WHERE");
        search.push_scope(&mut sql);
        sql.push(" ORDER BY p.memory_id");
        search.push_place(&mut sql);
        sql.push(") p");
    } else {
        sql.push("placement_terms p WHERE");
        search.push_scope(&mut sql);
    }
    let row: LexiconRow = sql.build_query_as().fetch_one(&mut **conn).await?;
    let hits = hits(row.hits.as_deref().unwrap_or_default());
    let hits = hits.ok_or_else(|| Error::Internal(anyhow::anyhow!("the words of a memory arrived cut short")))?;
    Ok(Lexicon { documents: row.documents as u64, words: row.words as u64, hits })
}

/// Two UUIDs, then an int4 array as Postgres sends it: number of dimensions, flags, element type, and, unless it
/// is empty, its size and lower bound; then length and value of each element. Integers are big-endian.
fn hits(mut bytes: &[u8]) -> Option<Vec<Hit>> {
    let mut hits = Vec::new();
    while !bytes.is_empty() {
        let (id, scope) = (uuid(&mut bytes)?, uuid(&mut bytes)?);
        let dimensions = integer(&mut bytes)?;
        let (_flags, _element) = (integer(&mut bytes)?, integer(&mut bytes)?);
        let size = if dimensions == 0 { 0 } else { integer(&mut bytes)? };
        if dimensions > 0 {
            integer(&mut bytes)?;
        }
        let mut terms = Vec::with_capacity(size as usize);
        for _ in 0..size {
            integer(&mut bytes)?;
            terms.push(integer(&mut bytes)?);
        }
        hits.push(Hit { id: MemoryId::from_uuid(id), scope: ScopeId::from_uuid(scope), terms });
    }
    Some(hits)
}

fn integer(bytes: &mut &[u8]) -> Option<i32> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(i32::from_be_bytes(*head))
}

fn uuid(bytes: &mut &[u8]) -> Option<Uuid> {
    let (head, rest) = bytes.split_first_chunk::<16>()?;
    *bytes = rest;
    Some(Uuid::from_bytes(*head))
}

/// What ranking needs to know about each candidate.
#[derive(Debug, FromRow)]
pub struct Features {
    pub memory_id: MemoryId,
    pub importance: f64,
    pub created_at: OffsetDateTime,
    /// To the question, of its best window; none without a vector.
    pub similarity: Option<f64>,
    /// When the newest memory of the scopes was made.
    pub newest: OffsetDateTime,
}

pub async fn features(
    conn: &mut TenantConn,
    search: &Search<'_>,
    ids: &[MemoryId],
    vector: Option<&HalfVector>,
) -> Result<Vec<Features>> {
    let features = sqlx::query_as(
        "SELECT m.memory_id, m.importance, m.created_at,
                (SELECT max(1 - (p.embedding <=> $4))
                   FROM placements p
                  WHERE p.tenant_id = $1 AND p.scope_id = ANY($2) AND p.memory_id = m.memory_id) AS similarity,
                (SELECT n.created_at
                   FROM placement_terms t
                   JOIN memories n ON n.tenant_id = $1 AND n.memory_id = t.memory_id
                  WHERE t.tenant_id = $1 AND t.scope_id = ANY($2)
                  ORDER BY t.memory_id DESC
                  LIMIT 1) AS newest
           FROM memories m
          WHERE m.tenant_id = $1 AND m.memory_id = ANY($3)",
    )
    .bind(search.tenant)
    .bind(search.scopes)
    .bind(ids)
    .bind(vector)
    .fetch_all(&mut **conn)
    .await?;
    Ok(features)
}
