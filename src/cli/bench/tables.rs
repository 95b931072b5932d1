//! What the tables that grow with memories take in Postgres.

use anyhow::Context;
use sqlx::{Connection as _, PgConnection};

use crate::cli::bench::site::Site;

/// Bytes.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub struct Tables {
    pub heap: i64,
    pub indexes: i64,
}

const TABLES: [&str; 4] = ["memories", "placements", "placement_terms", "scope_epochs"];

impl Tables {
    pub async fn measure(site: &Site) -> anyhow::Result<Self> {
        let mut connection: PgConnection = sqlx::ConnectOptions::connect(&site.database).await?;
        let names: Vec<String> = TABLES.iter().map(|table| format!("cairn.{table}")).collect();
        let tables = sqlx::query_as(
            "SELECT sum(pg_table_size(name::regclass))::bigint AS heap,
                    sum(pg_indexes_size(name::regclass))::bigint AS indexes
               FROM unnest($1::text[]) AS t (name)",
        );
        let tables = tables.bind(names).fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(tables)
    }

    /// What came since.
    pub fn since(self, before: Self) -> Self {
        Self { heap: self.heap - before.heap, indexes: self.indexes - before.indexes }
    }

    pub fn all(self) -> i64 {
        self.heap + self.indexes
    }
}

/// What autovacuum does before long, done now.
pub async fn vacuum(site: &Site) -> anyhow::Result<()> {
    let mut connection: PgConnection = sqlx::ConnectOptions::connect(&site.database).await?;
    let vacuum = "VACUUM (ANALYZE) cairn.memories, cairn.placements, cairn.placement_terms";
    sqlx::query(vacuum).execute(&mut connection).await.context("vacuuming")?;
    Ok(connection.close().await?)
}
