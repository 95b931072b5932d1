//! A connection that can see one tenant only. Whoever holds one cannot reach another's rows:
//! row security compares every row with the tenant set at its `BEGIN`.

use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, SqlSafeStr, Transaction};

use crate::db::{Db, Work};
use crate::error::Result;
use crate::ids::TenantId;

const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// An open transaction bound to a tenant. Dropping it rolls back; only `WriteTx` can commit.
pub struct TenantConn(pub(super) Transaction<'static, Postgres>);

impl Deref for TenantConn {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for TenantConn {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

impl Db {
    /// One read-only snapshot of one tenant.
    pub async fn read(&self, tenant: TenantId) -> Result<TenantConn> {
        begin(self.lend(Work::Search).await?, tenant, SNAPSHOT, "").await
    }

    /// The same for work that goes on beside requests, and takes no connection from them.
    pub async fn read_beside(&self, tenant: TenantId) -> Result<TenantConn> {
        begin(self.lend(Work::Background).await?, tenant, SNAPSHOT, "").await
    }
}

/// Opens the transaction and sets its tenant in one round trip; `also` is selected with it.
pub(super) async fn begin(
    connection: PoolConnection<Postgres>,
    tenant: TenantId,
    begin: &str,
    also: &str,
) -> Result<TenantConn> {
    // A tenant id is a UUID and cannot carry SQL.
    let statement = format!("{begin}; SELECT set_config('cairn.tenant', '{tenant}', true){also}");
    Ok(TenantConn(Transaction::begin(connection, Some(AssertSqlSafe(statement).into_sql_str())).await?))
}
