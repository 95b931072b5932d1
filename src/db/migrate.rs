//! Brings a database to the schema of this binary. One migrator works, others wait their turn;
//! an older binary accepts a newer schema, so that a release can be rolled back.

use std::time::Duration;

use anyhow::{Context, bail};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

use crate::db::session;

pub static MIGRATOR: Migrator = Migrator {
    ignore_missing: true,
    // sqlx waits inside Postgres for its lock, which can deadlock with CREATE INDEX CONCURRENTLY; ours polls.
    locking: false,
    ..sqlx::migrate!("./migrations")
};

/// Any number will do, as long as every migrator uses the same.
const LOCK: i64 = 0x6361_6972_6e00_0001;

/// Creates roles, extension and schema where they are missing, then applies what is pending.
/// `options` are those of a login that may do so (`database.owner_url`).
pub async fn migrate(options: &PgConnectOptions) -> anyhow::Result<()> {
    // That something exists already is no news.
    let options = options.clone().options([("client_min_messages", "warning")]);
    let mut guard =
        options.clone().application_name("cairn migrate").connect().await.context("connecting to migrate")?;
    wait_for_turn(&mut guard).await?;
    sqlx::raw_sql(include_str!("bootstrap.sql"))
        .execute(&mut guard)
        .await
        .context("preparing roles, the vector extension and the schema (the login needs CREATEROLE and CREATE)")?;
    let mut owner =
        session(&options, "cairn_owner", "cairn migrate", 0).connect().await.context("acting as cairn_owner")?;
    MIGRATOR.run(&mut owner).await.context("applying migrations")?;
    // The lock is the session's: it ends with `guard`, whatever happened above.
    Ok(())
}

async fn wait_for_turn(connection: &mut PgConnection) -> anyhow::Result<()> {
    for _ in 0..600 {
        let ours: bool =
            sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut *connection).await?;
        if ours {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    bail!("another `cairn migrate` has been running for five minutes; wait for it or end it")
}

/// How many of this binary's migrations the database lacks.
pub async fn pending_migrations(connection: &mut PgConnection) -> sqlx::Result<usize> {
    let known: Vec<i64> = MIGRATOR.iter().map(|migration| migration.version).collect();
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('cairn._sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(known.len());
    }
    let applied: i64 =
        sqlx::query_scalar("SELECT count(*) FROM cairn._sqlx_migrations WHERE success AND version = ANY($1)")
            .bind(&known)
            .fetch_one(connection)
            .await?;
    Ok(known.len().saturating_sub(applied as usize))
}
