//! A connection that can see one tenant only. Whoever holds one cannot reach another's rows:
//! row security compares every row with the tenant set at its `BEGIN`.

use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, SqlSafeStr, Transaction};

use crate::db::parked::Lot;
use crate::db::waits::{Claim, Loan};
use crate::db::{Db, Work};
use crate::error::Result;
use crate::ids::TenantId;

const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// An open transaction bound to a tenant. Dropping it rolls back; only `WriteTx` can commit.
pub struct TenantConn {
    pub(super) transaction: Transaction<'static, Postgres>,
    /// Given back after the connection is.
    _claim: Claim,
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
    lot: Option<Lot>,
    /// Given back after the connection is.
    claim: Claim,
}

impl CallConn {
    /// Calls a function. Whoever is cut off here, or fails, leaves a connection for the pool to look after; one that
    /// has answered is at hand for the next call.
    pub async fn rows(self, call: Query<'_, Postgres, PgArguments>) -> sqlx::Result<Vec<PgRow>> {
        let Self { mut connection, lot, claim } = self;
        let rows = call.fetch_all(&mut *connection).await?;
        if let Some(lot) = lot {
            lot.park(connection, claim.calls);
        }
        Ok(rows)
    }
}

impl Db {
    /// For one call of a function that reads on behalf of a tenant.
    pub async fn call(&self, tenant: TenantId) -> Result<CallConn> {
        self.call_for(Work::Search, tenant).await
    }

    pub(super) async fn call_for(&self, work: Work, tenant: TenantId) -> Result<CallConn> {
        let Loan { connection, claim } = self.lend(work, Some(tenant)).await?;
        Ok(CallConn { connection, lot: self.lot(work).cloned(), claim })
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
    Ok(TenantConn { transaction, _claim: loan.claim })
}
