//! Everything that an agent or a tenant remembers, oldest first, batch by batch.
//!
//! Each batch is a snapshot of its own. One for the whole would stay open for as long as the reader takes to read: it
//! would hold a connection, keep Postgres from cleaning up, and end at its idle timeout.

use time::OffsetDateTime;

use crate::db::Db;
use crate::error::Result;
use crate::ids::TenantId;
use crate::memories::Memory;
use crate::memories::store::{self, Position, Range};

/// At most 10 MiB, if every memory is as large as can be.
const BATCH: i64 = 200;

pub struct Export {
    db: Db,
    tenant: TenantId,
    range: Range,
    until: OffsetDateTime,
    after: Option<Position>,
    ended: bool,
}

impl Export {
    /// Of what was remembered before `until`: an export ends, however fast others write.
    pub fn new(db: Db, tenant: TenantId, range: Range, until: OffsetDateTime) -> Self {
        Self { db, tenant, range, until, after: None, ended: false }
    }

    /// The next memories; none at the end.
    pub async fn next(&mut self) -> Result<Vec<Memory>> {
        if self.ended {
            return Ok(Vec::new());
        }
        let (db, tenant, range) = (self.db.clone(), self.tenant, self.range.clone());
        let (until, after) = (self.until, self.after);
        let batch = self.db.run(async move {
            store::list_oldest(&mut db.read(tenant).await?, tenant, &range, until, after, BATCH).await
        });
        let batch = batch.await?;
        self.ended = (batch.len() as i64) < BATCH;
        self.after = batch.last().map(|last| Position { created_at: last.created_at, id: last.id });
        Ok(batch)
    }
}
