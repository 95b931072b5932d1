//! A write that is one call of a function, which does by itself all that a `WriteTx` does: it locks, decides, bumps,
//! writes and commits, or leaves everything as it was.

use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;

use crate::db::write::in_doubt;
use crate::db::{CallConn, Db, Work};
use crate::error::{Error, Result};
use crate::events::{Event, Notice, Origin};
use crate::ids::{ScopeId, TenantId};

pub struct WriteCall(CallConn);

impl Db {
    pub async fn write_call(&self, tenant: TenantId) -> Result<WriteCall> {
        Ok(WriteCall(self.call_for(Work::Write, tenant).await?))
    }

    /// Tells that such a call happened, and that it touched these scopes.
    pub fn announce(&self, tenant: TenantId, scopes: Vec<ScopeId>, event: Event) {
        self.bus.publish(Notice { tenant, scopes, event, origin: Origin::Here });
    }
}

impl WriteCall {
    /// An error that Postgres names has undone the call; of any other, nobody knows.
    pub async fn rows(self, call: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>> {
        self.0.rows(call).await.map_err(|error| match error {
            sqlx::Error::Database(_) => Error::from(error),
            _ => in_doubt(error),
        })
    }
}
