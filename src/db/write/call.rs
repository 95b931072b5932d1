//! A write that is one call of a function, which does by itself all that a `WriteTx` does: it locks, decides, bumps,
//! writes and commits, or leaves everything as it was.

use std::ops::{Deref, DerefMut};

use sqlx::PgConnection;

use crate::db::write::in_doubt;
use crate::db::{CallConn, Db, Work};
use crate::error::{Error, Result};
use crate::events::{Bus, Event, Notice, Origin};
use crate::ids::{ScopeId, TenantId};

pub struct WriteCall {
    conn: CallConn,
    tenant: TenantId,
    bus: Bus,
}

impl Deref for WriteCall {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.conn
    }
}

impl DerefMut for WriteCall {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.conn
    }
}

impl Db {
    pub async fn write_call(&self, tenant: TenantId) -> Result<WriteCall> {
        Ok(WriteCall { conn: self.call_for(Work::Write, tenant).await?, tenant, bus: self.bus.clone() })
    }
}

impl WriteCall {
    /// An error that Postgres names has undone the call; of any other, nobody knows.
    pub fn explain(&self, error: sqlx::Error) -> Error {
        match error {
            sqlx::Error::Database(_) => error.into(),
            _ => in_doubt(error),
        }
    }

    /// Tells that it happened, and that it touched these scopes.
    pub fn announce(self, scopes: Vec<ScopeId>, event: Event) {
        self.bus.publish(Notice { tenant: self.tenant, scopes, event, origin: Origin::Here });
    }
}
