//! What was called and what the caches did: counted in memory, written by each instance, added up over all.

mod analytics;
mod days;
mod queries;
mod sums;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::caches::{Pair, ask};
use crate::harness::{Client, Tenant, TestApp};

/// One row of sums over a table, as JSON.
async fn sums(superuser: &mut PgConnection, tenant: &Tenant, table: &str, columns: &str) -> Value {
    let columns: Vec<String> = columns.split(' ').map(|c| format!("coalesce(sum({c}), 0)::bigint AS {c}")).collect();
    let sql = format!(
        "SELECT to_json(s) FROM (SELECT {} FROM {table} WHERE tenant_id = $1 AND grain = 'minute') s",
        columns.join(", ")
    );
    let row = sqlx::query_scalar(AssertSqlSafe(sql)).bind(tenant.id);
    row.fetch_one(superuser).await.expect("sums")
}

/// Asks the same question so often.
async fn ask_often(client: &Client, agent: &str, question: &str, times: usize) {
    for _ in 0..times {
        ask(client, agent, json!({ "query": question })).await;
    }
}

async fn run(app: &TestApp, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut app.database.superuser().await).await.expect("runs");
}
