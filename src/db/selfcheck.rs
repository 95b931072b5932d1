//! Refuses to serve when row security would not hold: isolation must not rest on one layer.

use anyhow::{Context, bail};
use sqlx::PgPool;

use crate::db::migrate::pending_migrations;

/// Checks the schema, the current role and every table with a `tenant_id`.
pub async fn self_check(pool: &PgPool) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await.context(
        "connecting to Postgres as cairn_app (is the database up, was `cairn migrate` run, and is the login a member of cairn_app?)",
    )?;
    let pending = pending_migrations(&mut connection).await.context("reading the schema version")?;
    if pending > 0 {
        bail!("the database lacks {pending} migration(s) of this version: run `cairn migrate`");
    }
    let (role, exempt): (String, bool) =
        sqlx::query_as("SELECT rolname::text, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
            .fetch_one(&mut *connection)
            .await?;
    if exempt {
        bail!("the server acts as {role}, which row security does not bind; it must act as cairn_app");
    }
    let unprotected: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text
           FROM pg_class c
           JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
          WHERE c.relnamespace = 'cairn'::regnamespace AND c.relkind IN ('r', 'p')
            AND (NOT c.relrowsecurity
                 OR (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) <> 1
                 OR pg_has_role(current_user, c.relowner, 'USAGE'))
          ORDER BY 1",
    )
    .fetch_all(&mut *connection)
    .await?;
    if !unprotected.is_empty() {
        bail!(
            "row security does not protect {} from {role}: enable it, with one policy each, on tables that {role} does not own",
            unprotected.join(", ")
        );
    }
    Ok(())
}
