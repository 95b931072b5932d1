//! The write transaction: the only way to commit. It knows which scopes were bumped and refuses
//! to commit a change of a scope whose stamp stayed the same.
//!
//! Locks are taken in one order everywhere: tenant, agent, circle, members, memories, then the
//! scopes by id. What decides is read in statements after the locks.

mod call;
#[cfg(feature = "sabotage")]
mod sabotage;

pub use call::WriteCall;

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use rand::RngExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::db::idempotency::{Idempotency, Keyed};
use crate::db::{Db, TenantConn, Work, tenant};
use crate::error::{Code, Error, Result};
use crate::events::{Bus, Event, Notice, Origin};
use crate::ids::{ScopeId, Tag, TenantId};

pub struct WriteTx {
    conn: TenantConn,
    tenant: TenantId,
    /// The scopes bumped so far, each with the number of this commit.
    bumped: BTreeMap<ScopeId, i64>,
    /// The write with an `Idempotency-Key` that this is, until its receipt is written.
    claimed: Option<Arc<Keyed>>,
    border: Border,
    /// What is told to others once it has happened.
    announced: Vec<(TenantId, Event)>,
    bus: Bus,
    /// What this transaction adds to the tenant's totals.
    growth: Growth,
}

/// What is known of the tenant that is written to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Border {
    /// Nothing yet; it may be on its way out.
    Unchecked,
    /// It takes writes. `metered`: its totals are kept, because it has a quota.
    Open { metered: bool },
    /// Its own end or change is what is written.
    Owned,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Growth {
    memories: i64,
    bytes: i64,
}

impl Deref for WriteTx {
    type Target = TenantConn;

    fn deref(&self) -> &TenantConn {
        &self.conn
    }
}

impl DerefMut for WriteTx {
    fn deref_mut(&mut self) -> &mut TenantConn {
        &mut self.conn
    }
}

impl Db {
    /// Many may write to a tenant at once, but not while someone writes to it alone: its erasure, or a change of its
    /// quotas. Each holds a shared lock, taken without waiting in the round trip that begins; an error there would
    /// leave the connection inside a broken transaction. Whether it was taken is looked at with the first bump.
    pub async fn write(&self, tenant: TenantId) -> Result<WriteTx> {
        self.begin_write(Work::Write, tenant).await
    }

    /// The same for work that goes on beside requests, and takes no connection from them.
    pub async fn write_beside(&self, tenant: TenantId) -> Result<WriteTx> {
        self.begin_write(Work::Background, tenant).await
    }

    async fn begin_write(&self, work: Work, tenant: TenantId) -> Result<WriteTx> {
        let lock = format!(
            ", set_config('cairn.admitted', pg_try_advisory_xact_lock_shared(hashtextextended('{tenant}', 0))::text, true)"
        );
        let conn = tenant::begin(self.lend(work, Some(tenant)).await?, tenant, "BEGIN", &lock).await?;
        Ok(WriteTx::over(conn, tenant, Border::Unchecked, &self.bus))
    }

    /// A write to a tenant that takes no others any more: its erasure, batch by batch, one at a time. Whoever waited
    /// for another's batch would find its own rows gone, and take the table for empty.
    pub async fn write_to_erase(&self, tenant: TenantId) -> Result<WriteTx> {
        let mut conn = tenant::begin(self.lend(Work::Write, Some(tenant)).await?, tenant, "BEGIN", "").await?;
        // Not in the round trip that begins: cut off there, nobody would roll back.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 1))")
            .bind(tenant.to_string())
            .execute(&mut *conn)
            .await?;
        Ok(WriteTx::over(conn, tenant, Border::Owned, &self.bus))
    }
}

impl WriteTx {
    fn over(conn: TenantConn, tenant: TenantId, border: Border, bus: &Bus) -> Self {
        Self {
            conn,
            tenant,
            bumped: BTreeMap::new(),
            claimed: None,
            border,
            announced: Vec::new(),
            bus: bus.clone(),
            growth: Growth::default(),
        }
    }

    /// Goes on in another tenant, which nobody else writes to until the commit. For the operator, whose writes are claimed
    /// and recorded in a tenant of its own.
    pub async fn enter_alone(&mut self, tenant: TenantId) -> Result<()> {
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
            .bind(tenant.to_string())
            .execute(&mut *self.conn)
            .await?;
        self.bind(tenant).await
    }

    /// Goes back to where the operator's writes are recorded.
    pub async fn leave(&mut self) -> Result<()> {
        self.bind(TenantId::OPERATOR).await
    }

    async fn bind(&mut self, tenant: TenantId) -> Result<()> {
        sqlx::query("SELECT set_config('cairn.tenant', $1, true)")
            .bind(tenant.to_string())
            .execute(&mut *self.conn)
            .await?;
        self.tenant = tenant;
        Ok(())
    }

    /// Locks the stamps of these scopes in the order of their ids, which keeps writers from deadlock.
    pub async fn lock_scopes(&mut self, scopes: &[ScopeId]) -> Result<()> {
        sqlx::query(
            "SELECT FROM scope_epochs
              WHERE tenant_id = $1 AND scope_id = ANY($2)
              ORDER BY scope_id
                FOR NO KEY UPDATE",
        )
        .bind(self.tenant)
        .bind(scopes)
        .execute(&mut *self.conn)
        .await?;
        Ok(())
    }

    /// Gives each scope a new tag and its next number. The scopes must be locked. Bumping twice is bumping once.
    pub async fn bump(&mut self, scopes: &[ScopeId]) -> Result<()> {
        let fresh: Vec<ScopeId> = scopes.iter().copied().filter(|scope| !self.bumped.contains_key(scope)).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let tags: Vec<Tag> = fresh.iter().map(|_| Tag::random()).collect();
        // The state of the tenant comes along for nothing: a round trip of its own would be a tenth of the write.
        let rows: Vec<(ScopeId, i64, bool, bool)> = sqlx::query_as(
            "UPDATE scope_epochs e
                SET n = e.n + 1, tag = fresh.tag
               FROM unnest($2::uuid[], $3::uuid[]) AS fresh (scope_id, tag)
              WHERE e.tenant_id = $1 AND e.scope_id = fresh.scope_id
          RETURNING e.scope_id, e.n,
                    current_setting('cairn.admitted', true) = 'true'
                    AND (SELECT t.status <> 'erasing' FROM tenants t WHERE t.tenant_id = $1),
                    EXISTS (SELECT FROM tenant_totals o WHERE o.tenant_id = $1)",
        )
        .bind(self.tenant)
        .bind(&fresh)
        .bind(&tags)
        .fetch_all(&mut *self.conn)
        .await?;
        if self.border == Border::Unchecked
            && let [(_, _, true, metered), ..] = rows[..]
        {
            self.border = Border::Open { metered };
        }
        self.bumped.extend(rows.into_iter().map(|(scope, n, _, _)| (scope, n)));
        #[cfg(feature = "sabotage")]
        self.count_tags(&fresh).await?;
        self.check_border().await
    }

    /// Refuses to write to a tenant that is being erased; waits for whoever writes to it alone.
    async fn check_border(&mut self) -> Result<()> {
        if self.border != Border::Unchecked {
            return Ok(());
        }
        sqlx::query("SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))")
            .bind(self.tenant.to_string())
            .execute(&mut *self.conn)
            .await?;
        // A statement of its own: its snapshot is younger than the lock.
        let state: Option<(bool, bool)> = sqlx::query_as(
            "SELECT t.status <> 'erasing', EXISTS (SELECT FROM tenant_totals o WHERE o.tenant_id = $1)
               FROM tenants t
              WHERE t.tenant_id = $1",
        )
        .bind(self.tenant)
        .fetch_optional(&mut *self.conn)
        .await?;
        match state {
            Some((true, metered)) => {
                self.border = Border::Open { metered };
                Ok(())
            }
            _ => Err(Error::unauthenticated()),
        }
    }

    /// Counts what this transaction adds to what the tenant stores, or takes away.
    pub fn count(&mut self, memories: i64, bytes: i64) {
        self.growth.memories += memories;
        self.growth.bytes += bytes;
    }

    /// The last lock of all, held from here to the commit: writers of a tenant with a quota pass one by one.
    async fn settle(&mut self) -> Result<()> {
        if self.border != (Border::Open { metered: true }) || self.growth == Growth::default() {
            return Ok(());
        }
        let (memories, bytes, most_memories, most_bytes): (i64, i64, Option<i64>, Option<i64>) = sqlx::query_as(
            "UPDATE tenant_totals o
                SET memories = o.memories + $2, bytes = o.bytes + $3
               FROM tenants t
              WHERE o.tenant_id = $1 AND t.tenant_id = $1
          RETURNING o.memories, o.bytes, t.quota_memories, t.quota_bytes",
        )
        .bind(self.tenant)
        .bind(self.growth.memories)
        .bind(self.growth.bytes)
        .fetch_one(&mut *self.conn)
        .await?;
        // What takes away is welcome even above the quota, which may have been lowered since.
        let exceeds = |grows: i64, total: i64, quota: Option<i64>| quota.filter(|most| grows > 0 && total > *most);
        let exceeded = exceeds(self.growth.memories, memories, most_memories)
            .map(|most| format!("{most} memories"))
            .or_else(|| exceeds(self.growth.bytes, bytes, most_bytes).map(|most| format!("{most} bytes of content")));
        match exceeded {
            None => Ok(()),
            Some(most) => Err(Error::refused(
                Code::QuotaExceeded,
                format!("this tenant may store {most}; forget something, or ask your operator"),
            )),
        }
    }

    /// The number of this commit in a scope that was bumped.
    pub fn n(&self, scope: ScopeId) -> Result<i64> {
        let n = self.bumped.get(&scope).copied();
        n.ok_or_else(|| Error::Internal(anyhow!("scope {scope} is written before it was bumped")))
    }

    /// The receipt that an earlier sending of this write left. Without one, this sending goes ahead, and until the
    /// transaction ends every other is refused. Comes first: a replay must not meet what the first sending changed.
    pub async fn claim<R: DeserializeOwned>(&mut self, once: &Idempotency) -> Result<Option<R>> {
        let Some(keyed) = once.inner() else { return Ok(None) };
        // Replays need no lock, and so are not in each other's way.
        if let Some(receipt) = keyed.find(&mut self.conn, self.tenant).await? {
            return Ok(Some(receipt));
        }
        keyed.lock(&mut self.conn, self.tenant).await?;
        // Again: the one that held the lock may just have committed.
        let receipt = keyed.find(&mut self.conn, self.tenant).await?;
        if receipt.is_none() {
            self.claimed = Some(keyed.clone());
        }
        Ok(receipt)
    }

    /// Whether there is something to record, and so to commit, even if nothing changed.
    pub fn is_claimed(&self) -> bool {
        self.claimed.is_some()
    }

    /// Commits without a receipt: this write was refused, only that is kept, and sent again it is tried again.
    pub fn disclaim(&mut self) {
        self.claimed = None;
    }

    /// Keeps, with the commit, what a later sending of this write is answered with: ids and counts, no content.
    pub async fn record<R: Serialize>(&mut self, receipt: &R) -> Result<()> {
        match self.claimed.take() {
            Some(keyed) => keyed.insert(&mut self.conn, self.tenant, receipt).await,
            None => Ok(()),
        }
    }

    /// Tells what happens here to whoever listens, after the commit and only then.
    pub fn announce(&mut self, event: Event) {
        self.announced.push((self.tenant, event));
    }

    /// Commits a change that touched these scopes; each must have been bumped, and the change announced.
    pub async fn commit(mut self, touched: &[ScopeId]) -> Result<()> {
        if self.is_claimed() {
            return Err(Error::Internal(anyhow!("a write with an Idempotency-Key is committed without its receipt")));
        }
        for scope in touched {
            self.n(*scope)?;
        }
        if !touched.is_empty() && self.announced.is_empty() {
            return Err(Error::Internal(anyhow!("a change is committed that nobody announced")));
        }
        self.check_border().await?;
        self.settle().await?;
        self.conn.transaction.commit().await.map_err(in_doubt)?;
        for (tenant, event) in self.announced {
            self.bus.publish(Notice { tenant, scopes: touched.to_vec(), event, origin: Origin::Here });
        }
        Ok(())
    }
}

/// Postgres may have committed before its answer was lost.
fn in_doubt(error: sqlx::Error) -> Error {
    Error::unavailable(Code::DependencyUnavailable, "the write may or may not have happened; try again", error.into())
}

/// What one attempt at a write came to.
pub enum Attempt<T> {
    Done(T),
    /// What the attempt had assumed before its locks no longer holds.
    Again,
}

const ATTEMPTS: u32 = 5;

/// Repeats a write whose premise changed under it, or that Postgres broke off in favour of another.
pub async fn retrying<T, Work>(mut work: impl FnMut() -> Work) -> Result<T>
where
    Work: Future<Output = Result<Attempt<T>>>,
{
    for attempt in 1..=ATTEMPTS {
        match work().await {
            Ok(Attempt::Done(value)) => return Ok(value),
            Ok(Attempt::Again) => tracing::debug!(attempt, "the premise of a write changed"),
            Err(error) if attempt < ATTEMPTS && lost_to_another(&error) => {
                tracing::warn!(attempt, cause = %cause(&error), "a write was broken off by Postgres");
            }
            Err(error) => return Err(error),
        }
        let pause = rand::rng().random_range(1..=5 * u64::from(attempt));
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    Err(Error::unavailable(
        Code::Overloaded,
        "too many writers at once; try again",
        anyhow!("{ATTEMPTS} attempts at a write failed"),
    ))
}

fn lost_to_another(error: &Error) -> bool {
    let Error::Unavailable { cause, .. } = error else {
        return false;
    };
    let Some(sqlx::Error::Database(database)) = cause.downcast_ref() else {
        return false;
    };
    matches!(database.code().as_deref(), Some("40001" | "40P01"))
}

fn cause(error: &Error) -> String {
    match error {
        Error::Unavailable { cause, .. } => cause.to_string(),
        other => other.to_string(),
    }
}
