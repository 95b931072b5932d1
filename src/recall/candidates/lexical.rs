//! The lexical side: the memories that share a word with the question, and what BM25 needs to know of the rest.

use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

use crate::db::TenantConn;
use crate::error::{Error, Result};
use crate::ids::{MemoryId, ScopeId};
use crate::memories::{Mark, Thread};
use crate::recall::candidates::Search;
use crate::recall::rank::{Corpus, Lexicon, Line};

/// Up to this many words fit into a row of the covering index; longer memories are few and have an index of their own.
const INDEXED_TERMS: [&str; 2] = ["cardinality(p.terms) <= 600", "cardinality(p.terms) > 600"];

#[derive(FromRow)]
struct LexiconRow {
    documents: i64,
    words: i64,
    /// The lines, one after the other.
    lines: Option<Vec<u8>>,
}

/// Every memory that shares a word with the question or is part of a thread, and what BM25 needs to know about the
/// rest. One row comes back, whatever the number of lines: decoding thousands of rows would cost more than finding
/// them.
pub async fn lexicon(conn: &mut TenantConn, search: &Search<'_>, terms: &[i32]) -> Result<Lexicon> {
    let mut sql = QueryBuilder::new(
        "SELECT count(*) FILTER (WHERE p.first) AS documents,
                coalesce(sum(p.length) FILTER (WHERE p.first), 0)::bigint AS words,
                string_agg(uuid_send(p.memory_id) || uuid_send(p.scope_id)
                           || int4send((p.thread IS NOT NULL)::integer) || int8send(coalesce(p.thread, 0))
                           || int8send(coalesce(p.seq, 0)) || int4send(p.length)
                           || array_send(CASE WHEN p.hit THEN p.terms ELSE '{}' END)
                           || int4send(p.first::integer) || int4send((true",
    );
    search.push_filter(&mut sql);
    sql.push(
        ")::integer), ''::bytea)
                    FILTER (WHERE p.hit OR p.thread IS NOT NULL) AS lines
           FROM (SELECT p.memory_id, s.scope_id, p.thread, p.seq, p.terms, cardinality(p.terms) AS length, p.terms && ",
    );
    // A memory visible in several of the scopes counts once, in the first of them.
    let several = "row_number() OVER (PARTITION BY p.memory_id ORDER BY s.place) = 1";
    let first = if search.scopes.len() > 1 { several } else { "true" };
    sql.push_bind(terms.to_vec()).push(" AS hit, ").push(first).push(" AS first FROM");
    search.push_placements(&mut sql, "p.thread, p.seq, p.terms FROM placement_terms", &INDEXED_TERMS);
    sql.push(") p");
    let row: LexiconRow = sql.build_query_as().fetch_one(&mut **conn).await?;
    let lines = lines(row.lines.as_deref().unwrap_or_default(), terms);
    let lines = lines.ok_or_else(|| Error::Internal(anyhow::anyhow!("the words of a memory arrived cut short")))?;
    Ok(Lexicon { corpus: Corpus { documents: row.documents as u64, words: row.words as u64 }, lines })
}

/// As Postgres sends them; integers are big-endian.
fn lines(mut bytes: &[u8], query: &[i32]) -> Option<Vec<Line>> {
    let mut lines = Vec::new();
    while !bytes.is_empty() {
        let (id, scope) = (uuid(&mut bytes)?, uuid(&mut bytes)?);
        let threaded = integer(&mut bytes)? != 0;
        let thread = Thread { key: long(&mut bytes)?, seq: long(&mut bytes)? };
        let length = u32::try_from(integer(&mut bytes)?).ok()?;
        let (counts, asks) = counts(&mut bytes, query)?;
        lines.push(Line {
            id: MemoryId::from_uuid(id),
            scope: ScopeId::from_uuid(scope),
            thread: threaded.then_some(thread),
            length,
            asks,
            counts,
            first: integer(&mut bytes)? != 0,
            wanted: integer(&mut bytes)? != 0,
        });
    }
    Some(lines)
}

/// How often each word of the question is in an int4 array, and whether it has the mark of a question. The array is:
/// number of dimensions, flags, element type, and, unless it is empty, its size and lower bound; then length and value
/// of each element.
fn counts(bytes: &mut &[u8], query: &[i32]) -> Option<(Vec<u32>, bool)> {
    let dimensions = integer(bytes)?;
    let (_flags, _element) = (integer(bytes)?, integer(bytes)?);
    if dimensions == 0 {
        return Some((Vec::new(), false));
    }
    let size = integer(bytes)?;
    integer(bytes)?;
    let (mut counts, mut asks) = (vec![0; query.len()], false);
    for _ in 0..size {
        integer(bytes)?;
        let term = integer(bytes)?;
        asks |= term == Mark::Asks.term();
        if let Ok(word) = query.binary_search(&term) {
            counts[word] += 1;
        }
    }
    Some((counts, asks))
}

fn integer(bytes: &mut &[u8]) -> Option<i32> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(i32::from_be_bytes(*head))
}

fn long(bytes: &mut &[u8]) -> Option<i64> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(i64::from_be_bytes(*head))
}

fn uuid(bytes: &mut &[u8]) -> Option<Uuid> {
    let (head, rest) = bytes.split_first_chunk::<16>()?;
    *bytes = rest;
    Some(Uuid::from_bytes(*head))
}
