//! SQL for placements: in which scopes a memory is visible, with its vectors and its words.
//! Every function that writes needs the scopes locked and bumped; `n` is the number the bump gave.

use std::collections::BTreeSet;

use pgvector::HalfVector;

use crate::db::TenantConn;
use crate::embeddings::Windows;
use crate::error::Result;
use crate::ids::{AgentUid, MemoryId, ScopeId, TenantId};
use crate::memories::arrivals::halved;
use crate::memories::fields::MemoryFields;
use crate::memories::text::indexed_terms;
use crate::memories::thread::Thread;

/// A scope and the number of the commit that writes into it.
pub type Numbered = (ScopeId, i64);

/// The scopes that these memories are visible in, sorted, each once.
pub async fn scopes_of(conn: &mut TenantConn, tenant: TenantId, ids: &[MemoryId]) -> Result<Vec<ScopeId>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let scopes = sqlx::query_scalar(
        "SELECT DISTINCT scope_id FROM placement_terms
          WHERE tenant_id = $1 AND memory_id = ANY($2)
          ORDER BY scope_id",
    )
    .bind(tenant)
    .bind(ids)
    .fetch_all(&mut **conn)
    .await?;
    Ok(scopes)
}

/// A memory, and a scope that it is visible in.
pub type Place = (MemoryId, ScopeId);

/// All places of these memories.
pub async fn places_of(conn: &mut TenantConn, tenant: TenantId, ids: &[MemoryId]) -> Result<BTreeSet<Place>> {
    if ids.is_empty() {
        return Ok(BTreeSet::new());
    }
    let places: Vec<Place> =
        sqlx::query_as("SELECT memory_id, scope_id FROM placement_terms WHERE tenant_id = $1 AND memory_id = ANY($2)")
            .bind(tenant)
            .bind(ids)
            .fetch_all(&mut **conn)
            .await?;
    Ok(places.into_iter().collect())
}

async fn insert_vectors(
    conn: &mut TenantConn,
    tenant: TenantId,
    id: MemoryId,
    scopes: &[Numbered],
    fields: &MemoryFields,
    windows: &Windows,
) -> Result<()> {
    let (ids, numbers): (Vec<ScopeId>, Vec<i64>) = scopes.iter().copied().unzip();
    let dims = windows.first().map_or(0, Vec::len);
    let vectors: Vec<HalfVector> = windows.iter().map(|window| halved(window)).collect();
    sqlx::query(
        "INSERT INTO placements (tenant_id, scope_id, memory_id, window_no, n, dims, expires_at, embedding)
         SELECT $1, scope.scope_id, $2, win.no - 1, scope.n, $3, $4, win.embedding
           FROM unnest($5::uuid[], $6::bigint[]) AS scope (scope_id, n)
          CROSS JOIN unnest($7::halfvec[]) WITH ORDINALITY AS win (embedding, no)",
    )
    .bind(tenant)
    .bind(id)
    .bind(dims as i32)
    .bind(fields.expires_at)
    .bind(&ids)
    .bind(&numbers)
    .bind(vectors)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

/// Brings every placement of an edited memory up to date; `windows` only where its text changed.
pub async fn update(
    conn: &mut TenantConn,
    tenant: TenantId,
    id: MemoryId,
    scopes: &[Numbered],
    fields: &MemoryFields,
    windows: Option<&Windows>,
) -> Result<()> {
    let (ids, numbers): (Vec<ScopeId>, Vec<i64>) = scopes.iter().copied().unzip();
    let thread = Thread::of(fields);
    sqlx::query(
        "UPDATE placement_terms p
            SET n = scope.n, expires_at = $3, terms = $4, thread = $7, seq = $8
           FROM unnest($5::uuid[], $6::bigint[]) AS scope (scope_id, n)
          WHERE p.tenant_id = $1 AND p.scope_id = scope.scope_id AND p.memory_id = $2",
    )
    .bind(tenant)
    .bind(id)
    .bind(fields.expires_at)
    .bind(indexed_terms(fields))
    .bind(&ids)
    .bind(&numbers)
    .bind(thread.map(|thread| thread.key))
    .bind(thread.map(|thread| thread.seq))
    .execute(&mut **conn)
    .await?;
    match windows {
        Some(windows) => {
            delete_vectors(conn, tenant, &[id], &ids).await?;
            insert_vectors(conn, tenant, id, scopes, fields, windows).await
        }
        None => {
            sqlx::query(
                "UPDATE placements p
                    SET n = scope.n, expires_at = $3
                   FROM unnest($4::uuid[], $5::bigint[]) AS scope (scope_id, n)
                  WHERE p.tenant_id = $1 AND p.scope_id = scope.scope_id AND p.memory_id = $2",
            )
            .bind(tenant)
            .bind(id)
            .bind(fields.expires_at)
            .bind(&ids)
            .bind(&numbers)
            .execute(&mut **conn)
            .await?;
            Ok(())
        }
    }
}

/// Makes memories of one author visible in circles too, as they are in its own scope.
pub async fn copy(conn: &mut TenantConn, tenant: TenantId, author: AgentUid, to: &[(Place, i64)]) -> Result<()> {
    let ids: Vec<MemoryId> = to.iter().map(|((id, _), _)| *id).collect();
    let scopes: Vec<ScopeId> = to.iter().map(|((_, scope), _)| *scope).collect();
    let numbers: Vec<i64> = to.iter().map(|(_, n)| *n).collect();
    let terms = sqlx::query(
        "INSERT INTO placement_terms (tenant_id, scope_id, memory_id, n, expires_at, shared_by, shared_at, terms, thread, seq)
         SELECT $1, place.scope_id, own.memory_id, place.n, own.expires_at, $6, now(), own.terms, own.thread, own.seq
           FROM unnest($3::uuid[], $4::uuid[], $5::bigint[]) AS place (memory_id, scope_id, n)
           JOIN placement_terms own
             ON own.tenant_id = $1 AND own.scope_id = $2 AND own.memory_id = place.memory_id",
    );
    let terms = terms.bind(tenant).bind(author.scope()).bind(&ids).bind(&scopes).bind(&numbers).bind(author);
    terms.execute(&mut **conn).await?;
    let vectors = sqlx::query(
        "INSERT INTO placements (tenant_id, scope_id, memory_id, window_no, n, dims, expires_at, embedding)
         SELECT $1, place.scope_id, own.memory_id, own.window_no, place.n, own.dims, own.expires_at, own.embedding
           FROM unnest($3::uuid[], $4::uuid[], $5::bigint[]) AS place (memory_id, scope_id, n)
           JOIN placements own
             ON own.tenant_id = $1 AND own.scope_id = $2 AND own.memory_id = place.memory_id",
    );
    let vectors = vectors.bind(tenant).bind(author.scope()).bind(&ids).bind(&scopes).bind(&numbers);
    vectors.execute(&mut **conn).await?;
    Ok(())
}

/// Takes memories out of these scopes, which may be some of theirs or all, and records that they left.
pub async fn delete(conn: &mut TenantConn, tenant: TenantId, ids: &[MemoryId], scopes: &[Numbered]) -> Result<()> {
    let (scope_ids, numbers): (Vec<ScopeId>, Vec<i64>) = scopes.iter().copied().unzip();
    delete_vectors(conn, tenant, ids, &scope_ids).await?;
    sqlx::query(
        "WITH gone AS (
             DELETE FROM placement_terms
              WHERE tenant_id = $1 AND scope_id = ANY($3) AND memory_id = ANY($2)
          RETURNING scope_id, memory_id
         )
         INSERT INTO scope_removals (tenant_id, scope_id, n, memory_id)
         SELECT $1, gone.scope_id, scope.n, gone.memory_id
           FROM gone
           JOIN unnest($3::uuid[], $4::bigint[]) AS scope (scope_id, n) ON scope.scope_id = gone.scope_id",
    )
    .bind(tenant)
    .bind(ids)
    .bind(&scope_ids)
    .bind(&numbers)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

/// Empties a scope that goes too, which is why nothing is recorded; returns what was visible there.
pub async fn delete_all(conn: &mut TenantConn, tenant: TenantId, scope: ScopeId) -> Result<Vec<MemoryId>> {
    sqlx::query("DELETE FROM placements WHERE tenant_id = $1 AND scope_id = $2")
        .bind(tenant)
        .bind(scope)
        .execute(&mut **conn)
        .await?;
    let gone = sqlx::query_scalar(
        "DELETE FROM placement_terms
          WHERE tenant_id = $1 AND scope_id = $2
      RETURNING memory_id",
    );
    Ok(gone.bind(tenant).bind(scope).fetch_all(&mut **conn).await?)
}

/// Naming the scopes lets the primary key find the rows.
async fn delete_vectors(conn: &mut TenantConn, tenant: TenantId, ids: &[MemoryId], scopes: &[ScopeId]) -> Result<()> {
    sqlx::query("DELETE FROM placements WHERE tenant_id = $1 AND scope_id = ANY($3) AND memory_id = ANY($2)")
        .bind(tenant)
        .bind(ids)
        .bind(scopes)
        .execute(&mut **conn)
        .await?;
    Ok(())
}
