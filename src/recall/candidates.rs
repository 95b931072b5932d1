//! Candidates: SQL that finds memories near a vector or sharing a word, within given scopes. All of it
//! runs in one snapshot and sees nothing outside those scopes.

use std::collections::{HashMap, HashSet};

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
/// Likewise for words. Longer memories are few and have an index of their own.
const INDEXED_TERMS: [&str; 2] = ["cardinality(p.terms) <= 600", "cardinality(p.terms) > 600"];
/// Rows to ask for at first, for each memory that is wanted: it has one for each of its windows and scopes.
const ROWS_EACH: usize = 4;

impl Search<'_> {
    /// Every live placement `p` of the scopes `s`; `rows` says what of it and from which table. One scope after the
    /// other, fenced off by OFFSET: with all of them before it, Postgres leaves the covering indexes for the table
    /// or for an index of the whole tenant.
    fn push_placements(&self, sql: &mut QueryBuilder<Postgres>, rows: &str, conditions: &[&str]) {
        sql.push(" unnest(").push_bind(self.scopes.to_vec());
        sql.push(") WITH ORDINALITY AS s (scope_id, place) CROSS JOIN LATERAL (");
        for (index, condition) in conditions.iter().enumerate() {
            sql.push(if index > 0 { " UNION ALL " } else { "" });
            sql.push("SELECT p.memory_id, ").push(rows).push(" p WHERE ").push(condition);
            sql.push(" AND p.tenant_id = ").push_bind(self.tenant).push(" AND p.scope_id = s.scope_id");
            sql.push(" AND (p.expires_at IS NULL OR p.expires_at > statement_timestamp())");
        }
        sql.push(" OFFSET 0) p");
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
    sql.push(") AS hits FROM (SELECT ");
    if search.scopes.len() > 1 {
        // A memory visible in several of the scopes counts once, in the first of them.
        sql.push("DISTINCT ON (p.memory_id) ");
    }
    sql.push("p.memory_id, s.scope_id, p.terms FROM");
    search.push_placements(&mut sql, "p.terms FROM placement_terms", &INDEXED_TERMS);
    if search.scopes.len() > 1 {
        sql.push(" ORDER BY p.memory_id, s.place");
    }
    sql.push(") p");
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

/// `found` says in which of the scopes each was found: a memory is compared alike in all of them.
pub async fn features(
    conn: &mut TenantConn,
    search: &Search<'_>,
    found: &HashMap<MemoryId, ScopeId>,
    vector: Option<&HalfVector>,
) -> Result<Vec<Features>> {
    let (ids, scopes): (Vec<MemoryId>, Vec<ScopeId>) = found.iter().unzip();
    let features = sqlx::query_as(
        "SELECT m.memory_id, m.importance, m.created_at,
                (SELECT max(1 - (p.embedding <=> $5))
                   FROM placements p
                  WHERE p.tenant_id = $1 AND p.scope_id = f.scope_id AND p.memory_id = f.memory_id) AS similarity,
                (SELECT n.created_at
                   FROM unnest($2::uuid[]) AS s (scope_id)
                  CROSS JOIN LATERAL (SELECT t.memory_id
                                        FROM placement_terms t
                                       WHERE t.tenant_id = $1 AND t.scope_id = s.scope_id
                                       ORDER BY t.memory_id DESC
                                       LIMIT 1) AS t
                   JOIN memories n ON n.tenant_id = $1 AND n.memory_id = t.memory_id
                  ORDER BY t.memory_id DESC
                  LIMIT 1) AS newest
           FROM unnest($3::uuid[], $4::uuid[]) AS f (memory_id, scope_id)
           JOIN memories m ON m.tenant_id = $1 AND m.memory_id = f.memory_id",
    )
    .bind(search.tenant)
    .bind(search.scopes)
    .bind(ids)
    .bind(scopes)
    .bind(vector)
    .fetch_all(&mut **conn)
    .await?;
    Ok(features)
}
