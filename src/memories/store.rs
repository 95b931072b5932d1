//! SQL for memories themselves. Where they are visible is the business of `placements`.

use sha2::{Digest, Sha256};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{Arguments, AssertSqlSafe, FromRow, Postgres, QueryBuilder};
use time::OffsetDateTime;

use crate::db::TenantConn;
use crate::error::{Code, ConstraintExt, Error, Result};
use crate::ids::{AgentUid, MemoryId, ScopeId, TenantId};
use crate::memories::MemoryFilter;
use crate::memories::fields::{MemoryContent, MemoryFields, MemoryKey};
use crate::memories::model::{Memory, Reach};

/// `$1` is the tenant, `$2` the circles that may be named (NULL: all).
pub(super) const SELECT: &str = "
    SELECT m.memory_id, a.agent_id, m.agent_uid, m.content, m.kind, m.key, m.tags, m.importance, m.metadata,
           m.speaker, m.source_type, m.source_id, m.source_seq, m.occurred_at, m.expires_at,
           m.created_at, m.updated_at, m.version,
           ARRAY(SELECT c.circle_id
                   FROM placement_terms p
                   JOIN circles c ON c.tenant_id = p.tenant_id AND c.content_scope = p.scope_id
                  WHERE p.tenant_id = m.tenant_id AND p.memory_id = m.memory_id
                    AND ($2::uuid[] IS NULL OR p.scope_id = ANY($2))
                  ORDER BY c.circle_id) AS circles
      FROM memories m
      JOIN agents a ON a.tenant_id = m.tenant_id AND a.agent_uid = m.agent_uid
     WHERE m.tenant_id = $1 AND (m.expires_at IS NULL OR m.expires_at > statement_timestamp())";

pub fn content_hash(content: &MemoryContent) -> Vec<u8> {
    Sha256::digest(content.as_str()).to_vec()
}

/// A memory within reach. What has expired is absent.
pub async fn find(conn: &mut TenantConn, tenant: TenantId, id: MemoryId, reach: &Reach) -> Result<Option<Memory>> {
    let sql = format!(
        "{SELECT} AND m.memory_id = $3
            AND ($4::uuid IS NULL OR m.agent_uid = $4
                 OR EXISTS (SELECT FROM placement_terms p
                             WHERE p.tenant_id = $1 AND p.memory_id = m.memory_id AND p.scope_id = ANY($2)))"
    );
    let memory = sqlx::query_as(AssertSqlSafe(sql))
        .bind(tenant)
        .bind(&reach.circles)
        .bind(id)
        .bind(reach.acting)
        .fetch_optional(&mut **conn)
        .await?;
    Ok(memory)
}

/// These memories, in no particular order, naming the given circles only.
pub async fn find_many(
    conn: &mut TenantConn,
    tenant: TenantId,
    ids: &[MemoryId],
    circles: Option<&[ScopeId]>,
) -> Result<Vec<Memory>> {
    let memories = sqlx::query_as(AssertSqlSafe(format!("{SELECT} AND m.memory_id = ANY($3)")))
        .bind(tenant)
        .bind(circles)
        .bind(ids)
        .fetch_all(&mut **conn)
        .await?;
    Ok(memories)
}

/// Where a page of a list begins: after this one.
#[derive(Debug, Clone, Copy)]
pub struct Position {
    pub created_at: OffsetDateTime,
    pub id: MemoryId,
}

/// An agent's own memories, newest first.
pub async fn list(
    conn: &mut TenantConn,
    tenant: TenantId,
    agent: AgentUid,
    circles: Option<&[ScopeId]>,
    filter: &MemoryFilter,
    after: Option<Position>,
    limit: i64,
) -> Result<Vec<Memory>> {
    let mut given = PgArguments::default();
    given.add(tenant).map_err(sqlx::Error::Encode)?;
    given.add(circles).map_err(sqlx::Error::Encode)?;
    let mut sql = QueryBuilder::<Postgres>::with_arguments(SELECT, given);
    sql.push(" AND m.agent_uid = ").push_bind(agent);
    filter.push(&mut sql, tenant);
    if let Some(after) = after {
        sql.push(" AND (m.created_at, m.memory_id) < (").push_bind(after.created_at);
        sql.push(", ").push_bind(after.id).push(")");
    }
    sql.push(" ORDER BY m.created_at DESC, m.memory_id DESC LIMIT ").push_bind(limit);
    Ok(sql.build_query_as().fetch_all(&mut **conn).await?)
}

/// Whose memories, naming which circles; none: all of the tenant.
#[derive(Debug, Clone)]
pub struct Range {
    pub agent: Option<AgentUid>,
    pub circles: Option<Vec<ScopeId>>,
}

/// Memories created before a moment, oldest first. Across agents the ids, which are numbered in the order of time,
/// stand for the age: they have an index for it.
pub async fn list_oldest(
    conn: &mut TenantConn,
    tenant: TenantId,
    range: &Range,
    until: OffsetDateTime,
    after: Option<Position>,
    limit: i64,
) -> Result<Vec<Memory>> {
    let mut given = PgArguments::default();
    given.add(tenant).map_err(sqlx::Error::Encode)?;
    given.add(&range.circles).map_err(sqlx::Error::Encode)?;
    let mut sql = QueryBuilder::<Postgres>::with_arguments(SELECT, given);
    sql.push(" AND m.created_at < ").push_bind(until);
    if let Some(agent) = range.agent {
        sql.push(" AND m.agent_uid = ").push_bind(agent);
    }
    if let Some(after) = after {
        if range.agent.is_some() {
            sql.push(" AND (m.created_at, m.memory_id) > (").push_bind(after.created_at);
            sql.push(", ").push_bind(after.id).push(")");
        } else {
            sql.push(" AND m.memory_id > ").push_bind(after.id);
        }
    }
    let order = if range.agent.is_some() { "m.created_at, m.memory_id" } else { "m.memory_id" };
    sql.push(" ORDER BY ").push(order).push(" LIMIT ").push_bind(limit);
    Ok(sql.build_query_as().fetch_all(&mut **conn).await?)
}

/// A memory as a write sees it, expired or not.
#[derive(Debug, Clone, FromRow)]
pub struct Stored {
    pub memory_id: MemoryId,
    pub content_hash: Vec<u8>,
    pub expired: bool,
    #[sqlx(flatten)]
    pub fields: MemoryFields,
}

/// What a new memory of this agent may be equal to: the memories with one of these keys or contents.
pub async fn search_equal(
    conn: &mut TenantConn,
    tenant: TenantId,
    agent: AgentUid,
    keys: &[MemoryKey],
    hashes: &[Vec<u8>],
) -> Result<Vec<Stored>> {
    let keys: Vec<&str> = keys.iter().map(MemoryKey::as_str).collect();
    // One lookup for each key and each hash, each by its own index: asked for all at once (`= ANY`), Postgres
    // guesses that reading everything the agent remembers is as good. OFFSET 0 keeps the lookups apart.
    let stored = sqlx::query_as(
        "SELECT memory_id, content_hash, content, kind, key, tags, importance, metadata, speaker,
                source_type, source_id, source_seq, occurred_at, expires_at,
                coalesce(expires_at <= now(), false) AS expired
           FROM (SELECT m.*
                   FROM unnest($3::text[]) AS wanted (key)
                  CROSS JOIN LATERAL (SELECT * FROM memories
                                       WHERE tenant_id = $1 AND agent_uid = $2 AND key = wanted.key OFFSET 0) m
                  UNION ALL
                 SELECT DISTINCT ON (m.memory_id) m.*
                   FROM unnest($4::bytea[]) AS wanted (hash)
                  CROSS JOIN LATERAL (SELECT * FROM memories
                                       WHERE tenant_id = $1 AND agent_uid = $2 AND content_hash = wanted.hash OFFSET 0) m
                  WHERE m.key IS NULL OR m.key <> ALL($3)) equal
          ORDER BY memory_id",
    )
    .bind(tenant)
    .bind(agent)
    .bind(keys)
    .bind(hashes)
    .fetch_all(&mut **conn)
    .await?;
    Ok(stored)
}

/// Replaces what the memory says and keeps what it said; its author, its age and its id stay. The row must be locked.
pub async fn update(
    conn: &mut TenantConn,
    tenant: TenantId,
    id: MemoryId,
    principal: &str,
    fields: &MemoryFields,
) -> Result<()> {
    // Both parts see the row as it was before the statement.
    let update = sqlx::query(
        "WITH kept AS (
             INSERT INTO memory_history
                    (tenant_id, memory_id, version, written_at, written_by, content, kind, key, tags, importance,
                     metadata, speaker, source_type, source_id, source_seq, occurred_at, expires_at)
             SELECT tenant_id, memory_id, version, updated_at, CASE WHEN written_version = version THEN written_by END,
                    content, kind, key, tags, importance,
                    metadata, speaker, source_type, source_id, source_seq, occurred_at, expires_at
               FROM memories
              WHERE tenant_id = $1 AND memory_id = $2
         )
         UPDATE memories
            SET content = $3, content_hash = $4, kind = $5, key = $6, tags = $7, importance = $8, metadata = $9,
                speaker = $10, source_type = $11, source_id = $12, source_seq = $13, occurred_at = $14,
                expires_at = $15, version = version + 1, updated_at = now(),
                written_by = $16, written_version = version + 1
          WHERE tenant_id = $1 AND memory_id = $2",
    );
    bind_fields(update.bind(tenant).bind(id), fields)
        .bind(principal)
        .execute(&mut **conn)
        .await
        .on_constraint("memories_key_key", || {
            Error::refused(Code::KeyTaken, "another memory of this agent has this key")
        })?;
    Ok(())
}

/// Binds `$3` to `$15` of the statement above.
fn bind_fields<'q>(
    query: Query<'q, Postgres, PgArguments>,
    fields: &'q MemoryFields,
) -> Query<'q, Postgres, PgArguments> {
    let source = fields.source.as_ref();
    query
        .bind(&fields.content)
        .bind(content_hash(&fields.content))
        .bind(fields.kind)
        .bind(&fields.key)
        .bind(fields.tags.as_slice())
        .bind(fields.importance)
        .bind(sqlx::types::Json(&fields.metadata))
        .bind(&fields.speaker)
        .bind(source.map(|source| &source.kind))
        .bind(source.map(|source| &source.id))
        .bind(source.and_then(|source| source.seq))
        .bind(fields.occurred_at)
        .bind(fields.expires_at)
}

/// Deletes the memories with their history; their placements must be gone. If someone forgot them, rather than that
/// they expired, it is kept who. Returns how many, and the bytes of their contents.
pub async fn delete(
    conn: &mut TenantConn,
    tenant: TenantId,
    ids: &[MemoryId],
    forgotten_by: Option<&str>,
) -> Result<(i64, i64)> {
    let gone = sqlx::query_as(
        "WITH gone AS (
             DELETE FROM memories
              WHERE tenant_id = $1 AND memory_id = ANY($2)
          RETURNING memory_id, agent_uid, octet_length(content) AS bytes
         ), kept AS (
             INSERT INTO forgotten_memories (tenant_id, memory_id, agent_uid, forgotten_by)
             SELECT $1, memory_id, agent_uid, $3
               FROM gone
              WHERE $3::text IS NOT NULL
         )
         SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM gone",
    )
    .bind(tenant)
    .bind(ids)
    .bind(forgotten_by)
    .fetch_one(&mut **conn)
    .await?;
    Ok(gone)
}
