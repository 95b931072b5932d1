//! A connection that can see one tenant only. Whoever holds one cannot reach another's rows:
//! row security compares every row with the tenant set at its `BEGIN`.

use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, SqlSafeStr, Transaction};

use crate::db::waits::Loan;
use crate::db::{Db, Work};
use crate::error::Result;
use crate::ids::TenantId;
use crate::turns::Turn;

const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// An open transaction bound to a tenant. Dropping it rolls back; only `WriteTx` can commit.
pub struct TenantConn {
    pub(super) transaction: Transaction<'static, Postgres>,
    /// Given back after the connection is.
    _turn: Option<Turn>,
}

impl Deref for TenantConn {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.transaction
    }
}

impl DerefMut for TenantConn {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}

/// A connection outside of any transaction. No tenant is set on it, and row security shows it nothing: it is for
/// functions that set one for as long as they run.
pub struct CallConn {
    connection: PoolConnection<Postgres>,
    /// Given back after the connection is.
    _turn: Option<Turn>,
}

impl Deref for CallConn {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for CallConn {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Db {
    /// For one call of a function that reads on behalf of a tenant.
    pub async fn call(&self, tenant: TenantId) -> Result<CallConn> {
        self.call_for(Work::Search, tenant).await
    }

    pub(super) async fn call_for(&self, work: Work, tenant: TenantId) -> Result<CallConn> {
        let Loan { connection, turn } = self.lend(work, Some(tenant)).await?;
        Ok(CallConn { connection, _turn: turn })
    }

    /// One read-only snapshot of one tenant.
    pub async fn read(&self, tenant: TenantId) -> Result<TenantConn> {
        begin(self.lend(Work::Search, Some(tenant)).await?, tenant, SNAPSHOT, "").await
    }

    /// The same for work that goes on beside requests, and takes no connection from them.
    pub async fn read_beside(&self, tenant: TenantId) -> Result<TenantConn> {
        begin(self.lend(Work::Background, Some(tenant)).await?, tenant, SNAPSHOT, "").await
    }
}

/// Opens the transaction and sets its tenant in one round trip; `also` is selected with it.
pub(super) async fn begin(loan: Loan, tenant: TenantId, begin: &str, also: &str) -> Result<TenantConn> {
    // A tenant id is a UUID and cannot carry SQL.
    let statement = format!("{begin}; SELECT set_config('cairn.tenant', '{tenant}', true){also}");
    let transaction = Transaction::begin(loan.connection, Some(AssertSqlSafe(statement).into_sql_str())).await?;
    Ok(TenantConn { transaction, _turn: loan.turn })
}
