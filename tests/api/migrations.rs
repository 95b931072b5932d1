//! The schema: made once by many, and shared by two versions.

use cairn::db::{migrate, pending_migrations, self_check};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::harness::{Cluster, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn four_migrators_at_once_make_one_schema() {
    let cluster = Cluster::shared().await;
    let mut connection = cluster.options().connect().await.expect("connects");
    let name = format!("empty_{}", uuid::Uuid::new_v4().simple());
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.expect("a database");
    let options = cluster.options().database(&name);
    let mut empty = options.connect().await.expect("connects");
    assert!(pending_migrations(&mut empty).await.expect("counts") > 0);

    let migrators = futures_util::future::join_all((0..4).map(|_| migrate(&options))).await;
    assert!(migrators.iter().all(Result::is_ok), "{migrators:?}");
    assert_eq!(pending_migrations(&mut empty).await.expect("counts"), 0);
    empty.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_starts_and_serves_on_a_newer_schema() {
    let app = TestApp::start().await;
    let mut superuser = app.database.superuser().await;
    sqlx::raw_sql(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'to come', true, '', 0);
         ALTER TABLE memories ADD COLUMN to_come integer",
    )
    .execute(&mut superuser)
    .await
    .expect("a newer schema");
    self_check(app.db().background()).await.expect("still serves");
    migrate(&app.database.options()).await.expect("leaves it alone");
    let sibling = app.sibling().await;
    let tenant = sibling.new_tenant().await;
    tenant.remember("ada", "The kettle is broken.").await;
    assert_eq!(tenant.recalled("ada", serde_json::json!({"query": "kettle"})).await.len(), 1);
}

/// Deleting a row asks whether others refer to it: that has to be a lookup.
#[tokio::test(flavor = "multi_thread")]
async fn every_reference_is_looked_up_by_an_index() {
    let app = TestApp::start().await;
    let without: Vec<String> = sqlx::query_scalar(
        "SELECT c.conname::text
           FROM pg_constraint c
          WHERE c.contype = 'f' AND c.connamespace = 'cairn'::regnamespace
            AND c.confrelid IN ('memories'::regclass, 'placements'::regclass, 'placement_terms'::regclass)
            AND NOT EXISTS (
                SELECT FROM pg_index i
                 WHERE i.indrelid = c.conrelid AND i.indisvalid AND i.indpred IS NULL
                   AND (SELECT array_agg(k ORDER BY k) FROM unnest((i.indkey::int2[])[0:cardinality(c.conkey) - 1]) k)
                       = (SELECT array_agg(k ORDER BY k) FROM unnest(c.conkey) k))
          ORDER BY c.conname",
    )
    .fetch_all(&mut app.database.superuser().await)
    .await
    .expect("the catalogue");
    assert_eq!(without, Vec::<String>::new());
}
