//! SQL for what a circle sees: the memories shared there, and the audit of who shared what and until when. Placing them
//! is the business of `placements`.

use serde::Serialize;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments, FromRow, Postgres, QueryBuilder};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{CircleUid, ExternalId, MemoryId, ScopeId, TenantId};
use crate::memories::fields::Kind;
use crate::memories::placements::Place;
use crate::memories::store::SELECT;
use crate::memories::{Memory, MemoryFilter};

/// Notes that memories are shared from now on; returns what is shared where.
pub async fn insert(
    conn: &mut TenantConn,
    tenant: TenantId,
    places: &[Place],
    principal: &str,
) -> Result<Vec<(CircleUid, MemoryId)>> {
    let share_ids: Vec<Uuid> = places.iter().map(|_| Uuid::now_v7()).collect();
    let (ids, scopes): (Vec<MemoryId>, Vec<ScopeId>) = places.iter().copied().unzip();
    let shared = sqlx::query_as(
        "INSERT INTO shares (tenant_id, share_id, circle_uid, memory_id, agent_uid, agent_id, kind, shared_by)
         SELECT $1, place.share_id, c.circle_uid, m.memory_id, m.agent_uid, a.agent_id, m.kind, $5
           FROM unnest($2::uuid[], $3::uuid[], $4::uuid[]) AS place (share_id, memory_id, scope_id)
           JOIN circles c ON c.tenant_id = $1 AND c.content_scope = place.scope_id
           JOIN memories m ON m.tenant_id = $1 AND m.memory_id = place.memory_id
           JOIN agents a ON a.tenant_id = $1 AND a.agent_uid = m.agent_uid
      RETURNING circle_uid, memory_id",
    );
    let shared = shared.bind(tenant).bind(share_ids).bind(ids).bind(scopes).bind(principal);
    Ok(shared.fetch_all(&mut **conn).await?)
}

/// Notes that memories are no longer shared in these places; returns what was shared where.
pub async fn end(
    conn: &mut TenantConn,
    tenant: TenantId,
    places: &[Place],
    principal: &str,
) -> Result<Vec<(CircleUid, MemoryId)>> {
    let (ids, scopes): (Vec<MemoryId>, Vec<ScopeId>) = places.iter().copied().unzip();
    let ended = sqlx::query_as(
        "UPDATE shares s
            SET ended_at = now(), ended_by = $4
           FROM unnest($2::uuid[], $3::uuid[]) AS place (memory_id, scope_id)
           JOIN circles c ON c.tenant_id = $1 AND c.content_scope = place.scope_id
          WHERE s.tenant_id = $1 AND s.memory_id = place.memory_id AND s.circle_uid = c.circle_uid
            AND s.ended_at IS NULL
      RETURNING s.circle_uid, s.memory_id",
    );
    Ok(ended.bind(tenant).bind(ids).bind(scopes).bind(principal).fetch_all(&mut **conn).await?)
}

/// Notes that memories are no longer shared at all; nobody ends what expires.
pub async fn end_everywhere(
    conn: &mut TenantConn,
    tenant: TenantId,
    ids: &[MemoryId],
    principal: Option<&str>,
) -> Result<()> {
    let end = sqlx::query(
        "UPDATE shares
            SET ended_at = now(), ended_by = $3
          WHERE tenant_id = $1 AND memory_id = ANY($2) AND ended_at IS NULL",
    );
    end.bind(tenant).bind(ids).bind(principal).execute(&mut **conn).await?;
    Ok(())
}

/// The audit is deleted with its circle.
pub async fn delete(conn: &mut TenantConn, tenant: TenantId, circle: CircleUid) -> Result<()> {
    let delete = sqlx::query("DELETE FROM shares WHERE tenant_id = $1 AND circle_uid = $2");
    delete.bind(tenant).bind(circle).execute(&mut **conn).await?;
    Ok(())
}

/// That a memory is or was shared in a circle.
#[derive(Debug, Clone, Serialize, ToSchema, FromRow)]
pub struct Share {
    #[serde(skip)]
    pub share_id: Uuid,
    pub memory_id: MemoryId,
    /// Who remembers it, and shared it.
    pub agent_id: ExternalId,
    /// What kind of memory it was when it was shared.
    pub kind: Kind,
    #[serde(with = "time::serde::rfc3339")]
    pub shared_at: OffsetDateTime,
    /// The id of the credential that shared it.
    pub shared_by: String,
    /// Null while it is shared.
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
    /// The id of the credential that unshared or forgot it; null also where it expired.
    pub ended_by: Option<String>,
}

/// Which part of a circle's audit.
#[derive(Debug, Clone, Copy)]
pub struct ShareRange {
    pub circle: CircleUid,
    pub memory: Option<MemoryId>,
    /// Only older shares than this one.
    pub before: Option<Uuid>,
}

/// The audit of a circle, newest first.
pub async fn list(conn: &mut TenantConn, tenant: TenantId, range: ShareRange, limit: i64) -> Result<Vec<Share>> {
    let shares = sqlx::query_as(
        "SELECT share_id, memory_id, agent_id, kind, shared_at, shared_by, ended_at, ended_by
           FROM shares
          WHERE tenant_id = $1 AND circle_uid = $2
            AND ($3::uuid IS NULL OR memory_id = $3)
            AND ($4::uuid IS NULL OR share_id < $4)
          ORDER BY share_id DESC
          LIMIT $5",
    );
    let shares = shares.bind(tenant).bind(range.circle).bind(range.memory).bind(range.before).bind(limit);
    Ok(shares.fetch_all(&mut **conn).await?)
}

/// Which memories of a circle, naming which circles of theirs.
#[derive(Debug, Clone)]
pub struct SharedRange {
    pub content: ScopeId,
    pub named: Option<Vec<ScopeId>>,
    pub filter: MemoryFilter,
    /// Only older memories than this one.
    pub before: Option<MemoryId>,
}

/// What is shared in a circle, newest first: ids are numbered in the order of time, and have an index for it.
pub async fn list_memories(
    conn: &mut TenantConn,
    tenant: TenantId,
    range: &SharedRange,
    limit: i64,
) -> Result<Vec<Memory>> {
    let mut given = PgArguments::default();
    given.add(tenant).map_err(sqlx::Error::Encode)?;
    given.add(&range.named).map_err(sqlx::Error::Encode)?;
    let mut sql = QueryBuilder::<Postgres>::with_arguments(SELECT, given);
    sql.push(" AND m.memory_id IN (SELECT p.memory_id FROM placement_terms p WHERE p.tenant_id = $1 AND p.scope_id = ");
    sql.push_bind(range.content).push(")");
    range.filter.push(&mut sql, tenant);
    if let Some(before) = range.before {
        sql.push(" AND m.memory_id < ").push_bind(before);
    }
    sql.push(" ORDER BY m.memory_id DESC LIMIT ").push_bind(limit);
    Ok(sql.build_query_as().fetch_all(&mut **conn).await?)
}
