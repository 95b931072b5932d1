//! The write transaction: the only way to commit. It knows which scopes were bumped and refuses
//! to commit a change of a scope whose stamp stayed the same.
//!
//! Locks are taken in one order everywhere: tenant, agent, circle, members, memories, then the
//! scopes by id. What decides is read in statements after the locks.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use anyhow::anyhow;
use rand::RngExt;

use crate::db::{Db, TenantConn, tenant};
use crate::error::{Code, Error, Result};
use crate::ids::{ScopeId, Tag, TenantId};

pub struct WriteTx {
    conn: TenantConn,
    tenant: TenantId,
    /// The scopes bumped so far, each with the number of this commit.
    bumped: BTreeMap<ScopeId, i64>,
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
    pub async fn write(&self, tenant: TenantId) -> Result<WriteTx> {
        let conn = tenant::begin(&self.write, tenant, "BEGIN").await?;
        Ok(WriteTx { conn, tenant, bumped: BTreeMap::new() })
    }
}

impl WriteTx {
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
        let rows: Vec<(ScopeId, i64)> = sqlx::query_as(
            "UPDATE scope_epochs e
                SET n = e.n + 1, tag = fresh.tag
               FROM unnest($2::uuid[], $3::uuid[]) AS fresh (scope_id, tag)
              WHERE e.tenant_id = $1 AND e.scope_id = fresh.scope_id
          RETURNING e.scope_id, e.n",
        )
        .bind(self.tenant)
        .bind(&fresh)
        .bind(&tags)
        .fetch_all(&mut *self.conn)
        .await?;
        self.bumped.extend(rows);
        Ok(())
    }

    /// The number of this commit in a scope that was bumped.
    pub fn n(&self, scope: ScopeId) -> Result<i64> {
        let n = self.bumped.get(&scope).copied();
        n.ok_or_else(|| Error::Internal(anyhow!("scope {scope} is written before it was bumped")))
    }

    /// Commits a change that touched these scopes; each must have been bumped.
    pub async fn commit(self, touched: &[ScopeId]) -> Result<()> {
        for scope in touched {
            self.n(*scope)?;
        }
        self.conn.0.commit().await.map_err(|error| {
            // The outcome is unknown: Postgres may have committed before the answer was lost.
            Error::unavailable(
                Code::DependencyUnavailable,
                "the write may or may not have happened; try again",
                error.into(),
            )
        })
    }
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
