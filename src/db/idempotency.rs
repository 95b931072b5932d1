//! Writes that have one effect however often they are sent. The row that says so is written in the
//! transaction of the effect: both are there or neither is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::db::{Db, TenantConn};
use crate::error::{Code, Error, Result};
use crate::ids::TenantId;

/// For how long a write sent again is answered with what the first sending came to.
pub const RECEIPTS_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// A keyed hash: equal for equal input, and tells nothing else.
pub type Fingerprint = [u8; 32];

/// The `Idempotency-Key` of a write, if it came with one. Clones belong to the same request.
#[derive(Debug, Clone, Default)]
pub struct Idempotency(Option<Arc<Keyed>>);

#[derive(Debug)]
pub(super) struct Keyed {
    /// Of header, method and path.
    request: Fingerprint,
    /// Of the body, once it has been read.
    body: OnceLock<Fingerprint>,
    replayed: AtomicBool,
}

/// A write as its caller means it.
#[derive(Debug, Clone)]
pub struct Intent {
    pub tenant: TenantId,
    /// Who does it, for what is kept of it.
    pub principal: String,
    /// Which other requests are this one, sent again.
    pub once: Idempotency,
}

impl Intent {
    /// What an operator means to write at the command line.
    pub fn of_operator(tenant: TenantId) -> Self {
        Self { tenant, principal: "the command line".into(), once: Idempotency::default() }
    }
}

impl Idempotency {
    pub fn keyed(request: Fingerprint) -> Self {
        Self(Some(Arc::new(Keyed { request, body: OnceLock::new(), replayed: AtomicBool::new(false) })))
    }

    pub fn is_keyed(&self) -> bool {
        self.0.is_some()
    }

    /// Says what the body is; the first time counts.
    pub fn set_body(&self, body: Fingerprint) {
        if let Some(keyed) = &self.0 {
            let _ = keyed.body.set(body);
        }
    }

    /// Whether the answer is that of an earlier sending.
    pub fn is_replay(&self) -> bool {
        self.0.as_ref().is_some_and(|keyed| keyed.replayed.load(Ordering::Relaxed))
    }

    pub(super) fn inner(&self) -> Option<&Arc<Keyed>> {
        self.0.as_ref()
    }
}

impl Db {
    /// What an earlier sending of this write left: a cheap look before something dear is done for this one.
    /// What decides is `WriteTx::claim`.
    pub async fn receipt<R: DeserializeOwned>(&self, intent: &Intent) -> Result<Option<R>> {
        match intent.once.inner() {
            Some(keyed) => keyed.find(&mut self.read(intent.tenant).await?, intent.tenant).await,
            None => Ok(None),
        }
    }
}

/// Deletes at most `limit` of a tenant's receipts that no longer count; returns how many.
pub async fn purge_receipts(conn: &mut TenantConn, tenant: TenantId, limit: i64) -> Result<u64> {
    let done = sqlx::query(
        "DELETE FROM idempotency_keys
          WHERE tenant_id = $1
            AND request_hash = ANY(ARRAY(SELECT request_hash FROM idempotency_keys
                                          WHERE tenant_id = $1 AND created_at <= now() - interval '24 hours'
                                          ORDER BY created_at
                                          LIMIT $2
                                            FOR UPDATE SKIP LOCKED))",
    )
    .bind(tenant)
    .bind(limit)
    .execute(&mut **conn)
    .await?;
    Ok(done.rows_affected())
}

impl Keyed {
    /// Refuses to go on while another sending is on its way; from here on the others are refused, until the
    /// transaction ends.
    pub(super) async fn lock(&self, conn: &mut TenantConn, tenant: TenantId) -> Result<()> {
        if self.try_lock(conn, tenant).await? {
            return Ok(());
        }
        // A transaction that failed is rolled back a moment after its caller was told.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if self.try_lock(conn, tenant).await? {
            return Ok(());
        }
        Err(Error::refused(
            Code::IdempotencyInProgress,
            "a write with this Idempotency-Key is still running; try again",
        ))
    }

    async fn try_lock(&self, conn: &mut TenantConn, tenant: TenantId) -> Result<bool> {
        let (seed, _) = self.request.split_first_chunk().unwrap_or((&[0; 8], &[]));
        let locked = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtextextended($1::text, $2))")
            .bind(tenant)
            .bind(i64::from_le_bytes(*seed))
            .fetch_one(&mut **conn)
            .await?;
        Ok(locked)
    }

    pub(super) async fn find<R: DeserializeOwned>(&self, conn: &mut TenantConn, tenant: TenantId) -> Result<Option<R>> {
        let row: Option<(Vec<u8>, Value)> = sqlx::query_as(
            "SELECT body_hash, receipt FROM idempotency_keys
              WHERE tenant_id = $1 AND request_hash = $2 AND created_at > now() - interval '24 hours'",
        )
        .bind(tenant)
        .bind(self.request.as_slice())
        .fetch_optional(&mut **conn)
        .await?;
        let Some((body, receipt)) = row else { return Ok(None) };
        if body != self.body() {
            return Err(Error::refused(
                Code::IdempotencyKeyReused,
                "this Idempotency-Key was used with another body; use a new key for a new write",
            ));
        }
        self.replayed.store(true, Ordering::Relaxed);
        Ok(Some(serde_json::from_value(receipt).map_err(anyhow::Error::from)?))
    }

    pub(super) async fn insert<R: Serialize>(
        &self,
        conn: &mut TenantConn,
        tenant: TenantId,
        receipt: &R,
    ) -> Result<()> {
        // A row that is still there has expired, or it would have been found.
        sqlx::query(
            "INSERT INTO idempotency_keys (tenant_id, request_hash, body_hash, receipt)
             VALUES ($1, $2, $3, $4)
                 ON CONFLICT ON CONSTRAINT idempotency_keys_pkey
                 DO UPDATE SET body_hash = excluded.body_hash, receipt = excluded.receipt, created_at = now()",
        )
        .bind(tenant)
        .bind(self.request.as_slice())
        .bind(self.body())
        .bind(sqlx::types::Json(receipt))
        .execute(&mut **conn)
        .await?;
        Ok(())
    }

    /// All zeros where the route reads no body.
    fn body(&self) -> &[u8] {
        self.body.get().map_or(&[0; 32], Fingerprint::as_slice)
    }
}
