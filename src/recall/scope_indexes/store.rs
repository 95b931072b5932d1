//! SQL for the indexes of scopes. Rows are written as every row is; what makes and drops an index is the owner's.

use sqlx::{AssertSqlSafe, FromRow, PgConnection, PgPool, Row};

use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{ScopeId, TenantId};
use crate::recall::scope_indexes::index_name;

/// Only one builds at a time; any number will do.
const LOCK: i64 = 0x6361_6972_6e00_0002;

/// Twice as long to build as with the defaults of pgvector, as large, and of 200,000 vectors it misses next to none,
/// where those miss one in fifty.
const GRAPH: &str = "WITH (m = 20, ef_construction = 128)";

/// What an index covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vectors {
    pub tenant: TenantId,
    pub scope: ScopeId,
    pub dims: i32,
}

impl Vectors {
    /// The predicate of the index. A query that is to use it must have the same text.
    pub fn predicate(&self) -> String {
        let Self { tenant, scope, dims } = self;
        format!("tenant_id = '{}'::uuid AND scope_id = '{}'::uuid AND dims = {dims}", tenant.uuid(), scope.uuid())
    }

    /// What is indexed.
    pub fn expression(&self) -> String {
        format!("(embedding::halfvec({}))", self.dims)
    }
}

/// A scope that may deserve an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LargeScope {
    pub vectors: Vectors,
    pub placements: u64,
    /// How often it was asked on the last day, as far as that is known.
    pub recalls: u64,
}

/// What answers may use is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum IndexState {
    Building,
    Ready,
    Dropping,
}

/// An index by what is said of it and what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownIndex {
    pub name: String,
    /// None: nothing is said of it.
    pub vectors: Option<Vectors>,
    pub state: Option<IndexState>,
    /// Whether it is whole; none: there is no such index.
    pub valid: Option<bool>,
}

impl KnownIndex {
    pub fn is_whole_of(&self, scope: &LargeScope) -> bool {
        let stands = matches!(self.state, Some(IndexState::Ready | IndexState::Building));
        stands && self.valid == Some(true) && self.vectors == Some(scope.vectors)
    }
}

/// Scopes with so many vectors or more, as far as statistics tell, and all that have an index.
pub async fn large_scopes(pool: &PgPool, at_least: u64) -> Result<Vec<LargeScope>> {
    let rows: Vec<(TenantId, ScopeId, i32, i64, i64)> =
        sqlx::query_as("SELECT tenant_id, scope_id, dims, placements, recalls FROM large_scopes($1)")
            .bind(at_least as i64)
            .fetch_all(pool)
            .await?;
    let scopes = rows.into_iter().map(|(tenant, scope, dims, placements, recalls)| LargeScope {
        vectors: Vectors { tenant, scope, dims },
        placements: placements as u64,
        recalls: recalls as u64,
    });
    Ok(scopes.collect())
}

impl FromRow<'_, sqlx::postgres::PgRow> for KnownIndex {
    fn from_row(row: &sqlx::postgres::PgRow) -> sqlx::Result<Self> {
        let scope: (Option<TenantId>, Option<ScopeId>, Option<i32>) =
            (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        let vectors = match scope {
            (Some(tenant), Some(scope), Some(dims)) => Some(Vectors { tenant, scope, dims }),
            _ => None,
        };
        Ok(Self { name: row.try_get(0)?, vectors, state: row.try_get(4)?, valid: row.try_get(5)? })
    }
}

pub async fn known(pool: &PgPool) -> Result<Vec<KnownIndex>> {
    let known = sqlx::query_as("SELECT index_name, tenant_id, scope_id, dims, state, valid FROM known_scope_indexes()");
    Ok(known.fetch_all(pool).await?)
}

/// Says that an index is being built.
pub async fn announce(conn: &mut TenantConn, scope: &LargeScope) -> Result<()> {
    sqlx::query(
        "INSERT INTO scope_indexes (tenant_id, scope_id, dims, index_name, state, placements)
         VALUES ($1, $2, $3, $4, 'building', $5)
             ON CONFLICT ON CONSTRAINT scope_indexes_pkey
             DO UPDATE SET dims = excluded.dims, index_name = excluded.index_name, state = 'building',
                           placements = excluded.placements, created_at = now(), ready_at = NULL",
    )
    .bind(scope.vectors.tenant)
    .bind(scope.vectors.scope)
    .bind(scope.vectors.dims)
    .bind(index_name(&scope.vectors))
    .bind(scope.placements as i64)
    .execute(&mut **conn)
    .await?;
    Ok(())
}

/// Says that it is there; false if it is no longer wanted, because its tenant has gone.
pub async fn mark_ready(conn: &mut TenantConn, vectors: &Vectors) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE scope_indexes SET state = 'ready', ready_at = now()
          WHERE tenant_id = $1 AND scope_id = $2 AND dims = $3 AND state = 'building'",
    );
    let done = done.bind(vectors.tenant).bind(vectors.scope).bind(vectors.dims).execute(&mut **conn).await?;
    Ok(done.rows_affected() == 1)
}

/// Says that answers are not to use it any more.
pub async fn mark_dropping(conn: &mut TenantConn, vectors: &Vectors) -> Result<()> {
    sqlx::query("UPDATE scope_indexes SET state = 'dropping' WHERE tenant_id = $1 AND scope_id = $2")
        .bind(vectors.tenant)
        .bind(vectors.scope)
        .execute(&mut **conn)
        .await?;
    Ok(())
}

/// Says nothing of it any more.
pub async fn remove(conn: &mut TenantConn, vectors: &Vectors) -> Result<()> {
    sqlx::query("DELETE FROM scope_indexes WHERE tenant_id = $1 AND scope_id = $2")
        .bind(vectors.tenant)
        .bind(vectors.scope)
        .execute(&mut **conn)
        .await?;
    Ok(())
}

/// Keeps other builders out for as long as the session lives; false while another is at work.
pub async fn close_door(owner: &mut PgConnection) -> Result<bool> {
    Ok(sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(owner).await?)
}

/// Builds the index while everybody goes on reading and writing. Alone: workers would take the processors from
/// requests, and their shared memory is scarce in containers.
pub async fn build(owner: &mut PgConnection, vectors: &Vectors, memory_mb: u64) -> Result<()> {
    let (name, expression, predicate) = (index_name(vectors), vectors.expression(), vectors.predicate());
    let settings = format!("SET maintenance_work_mem = '{memory_mb}MB'; SET max_parallel_maintenance_workers = 0");
    sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut *owner).await?;
    let sql = format!(
        "CREATE INDEX CONCURRENTLY {name} ON placements USING hnsw ({expression} halfvec_cosine_ops) {GRAPH} WHERE {predicate}"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(owner).await?;
    Ok(())
}

/// Drops an index, whole or not, if it is there.
pub async fn drop_index(owner: &mut PgConnection, name: &str) -> Result<()> {
    let sql = format!("DROP INDEX CONCURRENTLY IF EXISTS \"{name}\"");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(owner).await?;
    Ok(())
}
