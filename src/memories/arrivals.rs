//! SQL for new memories: each is written with its words and its vectors, all of a batch in one statement. Migration
//! 0019 has the functions.

use half::f16;
use pgvector::HalfVector;
use sqlx::postgres::{PgHasArrayType, PgTypeInfo};
use sqlx::types::Json;
use sqlx::{FromRow, Postgres, Type};
use time::OffsetDateTime;

use crate::db::{TenantConn, WriteCall};
use crate::embeddings::Windows;
use crate::error::Result;
use crate::ids::{AgentUid, ExternalId, MemoryId, Tag, TenantId};
use crate::memories::fields::{Importance, Kind, MemoryFields};
use crate::memories::model::Memory;
use crate::memories::store::content_hash;
use crate::memories::text::indexed_terms;
use crate::memories::thread::Thread;
use crate::words::Metadata;

/// A new memory and what it will be found by, field by field as Postgres's type of this name has them.
#[derive(sqlx::Encode)]
pub struct Arrival<'a> {
    id: MemoryId,
    content: &'a str,
    content_hash: Vec<u8>,
    kind: Kind,
    key: Option<&'a str>,
    tags: &'a [String],
    importance: Importance,
    metadata: Json<&'a Metadata>,
    speaker: Option<&'a str>,
    source_type: Option<&'a str>,
    source_id: Option<&'a str>,
    source_seq: Option<i64>,
    occurred_at: Option<OffsetDateTime>,
    expires_at: Option<OffsetDateTime>,
    terms: Vec<i32>,
    thread: Option<i64>,
    seq: Option<i64>,
    dims: i32,
    windows: Vec<HalfVector>,
}

impl Type<Postgres> for Arrival<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("arrival")
    }
}

impl PgHasArrayType for Arrival<'_> {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("_arrival")
    }
}

impl<'a> Arrival<'a> {
    pub fn new(id: MemoryId, fields: &'a MemoryFields, windows: &Windows) -> Self {
        let (source, thread) = (fields.source.as_ref(), Thread::of(fields));
        Self {
            id,
            content: fields.content.as_str(),
            content_hash: content_hash(&fields.content),
            kind: fields.kind,
            key: fields.key.as_ref().map(|key| key.as_str()),
            tags: fields.tags.as_slice(),
            importance: fields.importance,
            metadata: Json(&fields.metadata),
            speaker: fields.speaker.as_ref().map(|speaker| speaker.as_str()),
            source_type: source.map(|source| source.kind.as_str()),
            source_id: source.map(|source| source.id.as_str()),
            source_seq: source.and_then(|source| source.seq),
            occurred_at: fields.occurred_at,
            expires_at: fields.expires_at,
            terms: indexed_terms(fields),
            thread: thread.map(|thread| thread.key),
            seq: thread.map(|thread| thread.seq),
            dims: windows.first().map_or(0, Vec::len) as i32,
            windows: windows.iter().map(|window| halved(window)).collect(),
        }
    }
}

/// Float16 keeps all of the ranking at half the bytes.
pub fn halved(vector: &[f32]) -> HalfVector {
    HalfVector::from(vector.iter().map(|x| f16::from_f32(*x)).collect::<Vec<_>>())
}

/// Whose memories they are, and which credential writes them.
#[derive(Debug, Clone, Copy)]
pub struct Hand<'a> {
    pub agent: AgentUid,
    pub principal: &'a str,
}

/// Writes memories into their author's scope, which is locked and was bumped to `n`.
pub async fn place(
    conn: &mut TenantConn,
    tenant: TenantId,
    hand: Hand<'_>,
    n: i64,
    arrivals: &[Arrival<'_>],
) -> Result<()> {
    sqlx::query("SELECT FROM place_arrivals($1, $2, $3, $4, $5)")
        .bind(tenant)
        .bind(hand.agent)
        .bind(hand.principal)
        .bind(n)
        .bind(arrivals)
        .execute(&mut **conn)
        .await?;
    Ok(())
}

/// A whole write in one round trip, for memories without keys and circles, no two of them equal, of an agent that is
/// there. Nothing in return: one of them is not new, or the tenant asks for more than that, and nothing was written.
pub async fn remember(
    call: WriteCall,
    tenant: TenantId,
    author: &ExternalId,
    principal: &str,
    arrivals: &[Arrival<'_>],
) -> Result<Vec<Memory>> {
    let remember = sqlx::query(
        "SELECT m.*, $2 AS agent_id, '{}'::text[] AS circles
           FROM remember_arrivals($1, $2, $3, $4, $5) m",
    );
    let remember = remember.bind(tenant).bind(author).bind(principal).bind(Tag::random()).bind(arrivals);
    let rows = call.rows(remember).await?;
    Ok(rows.iter().map(Memory::from_row).collect::<Result<_, _>>()?)
}
