//! A backup brings everything back: into an empty cluster, by `pg_dump` and by `pg_basebackup`, as
//! docs/operations.md has it. Every table is equal and every question has the same answer.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};

use crate::harness::{Client, Cluster, TestApp};

const MEMORIES: usize = 300;
const QUESTIONS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_restores_into_an_empty_cluster() {
    let before = Service::with_memories().await;
    let (source, database) = (&before.app.database.cluster, before.app.database.name.as_str());
    let dump = source.file("cairn.dump");
    // Not as the superuser: what the owner of the tables cannot read would be missing.
    source.tool("pg_dump", &["--format=custom", "--role=cairn_owner", "--file", &dump, database]);

    let started = Instant::now();
    let target = Cluster::empty().await;
    let roles = "CREATE ROLE cairn_owner NOLOGIN; CREATE ROLE cairn_app NOLOGIN;";
    target.tool("psql", &["--dbname=postgres", "--set=ON_ERROR_STOP=1", "--command", roles]);
    target.tool("createdb", &["cairn"]);
    target.tool("pg_restore", &["--dbname=cairn", "--exit-on-error", "--jobs=2", &dump]);
    before.equals(target.options().database("cairn"), "pg_dump", started).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_backup_starts_as_it_was() {
    let before = Service::with_memories().await;
    let started = Instant::now();
    let target = before.app.database.cluster.base_backup().await;
    before.equals(target.options().database(&before.app.database.name), "pg_basebackup", started).await;
}

/// A server over a cluster of its own, and what it says.
struct Service {
    app: TestApp,
    tenants: Vec<Client>,
    tables: BTreeMap<String, String>,
    answers: Vec<Value>,
}

impl Service {
    async fn with_memories() -> Self {
        let app = TestApp::start_on(Cluster::own().await, |_| {}).await;
        let mut tenants = Vec::new();
        for _ in 0..2 {
            let tenant = app.new_tenant().await;
            remember_some(&tenant).await;
            tenants.push(tenant.client.clone());
        }
        let tables = checksums(&mut app.database.superuser().await).await;
        assert!(tables.len() >= 10 && tables.contains_key("cairn.memories"), "{tables:?}");
        let answers = answers(&tenants, &app.url()).await;
        assert!(answers.iter().all(|answer| answer != &json!([])), "every question has an answer");
        Self { app, tenants, tables, answers }
    }

    /// The restored database holds the same, and a server over it says the same to the same keys.
    async fn equals(&self, restored: PgConnectOptions, how: &str, started: Instant) {
        let server = self.app.sibling_through(restored.clone(), |_| {}).await;
        let first = self.tenants[0].at(server.url()).recall("ada", json!({"query": "stone"})).await;
        println!("{how}: the first recall {} ms after the restore began", started.elapsed().as_millis());
        assert_ne!(first["results"], json!([]));
        for (before, after) in self.answers.iter().zip(answers(&self.tenants, &server.url()).await) {
            assert_eq!(*before, after);
        }
        let mut connection = restored.connect().await.expect("connects");
        assert_eq!(checksums(&mut connection).await, self.tables);
    }
}

async fn remember_some(tenant: &Client) {
    let words = ["stone", "path", "summit", "kettle", "garden", "harbour", "lantern"];
    for batch in 0..MEMORIES / 100 {
        let memory = |index: usize| {
            let (a, b) = (words[index % words.len()], words[index / words.len() % words.len()]);
            json!({"content": format!("The {a} by the {b} has number {batch}{index:02}."), "tags": [a],
                "importance": index as f64 / 100.0, "metadata": {"number": index}})
        };
        let memories: Vec<Value> = (0..100).map(memory).collect();
        tenant.post("/v1/agents/ada/remember/batch", json!({ "memories": memories })).await.expect(200);
    }
    let forgotten = tenant.post("/v1/agents/ada/forget", json!({"filter": {"tags_any": ["kettle"]}})).await;
    assert_ne!(forgotten.expect(200)["forgotten"], 0);
}

/// What is found and how well it fits, in every mode; and the memories themselves.
async fn answers(tenants: &[Client], url: &str) -> Vec<Value> {
    let mut answers = Vec::new();
    for tenant in tenants {
        for number in 0..QUESTIONS {
            for mode in ["hybrid", "semantic", "lexical"] {
                let query = format!("which stone by the garden has number {number:03}");
                let request = json!({"query": query, "k": 10, "mode": mode});
                let answer = tenant.at(url.to_owned()).recall("ada", request).await;
                let results = answer["results"].as_array().expect("results").iter();
                answers.push(results.map(|result| json!([score(result), result["memory"]["content"]])).collect());
            }
        }
        let list = tenant.at(url.to_owned()).get("/v1/agents/ada/memories?limit=200").await.expect(200);
        answers.push(list["items"].clone());
    }
    answers
}

/// Without its last digits: sums are taken in an order of the moment.
fn score(result: &Value) -> String {
    format!("{:.9}", result["score"].as_f64().expect("a score"))
}

/// A digest of every row of every table of the schema, in an order of its own.
async fn checksums(connection: &mut PgConnection) -> BTreeMap<String, String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE n.nspname IN ('cairn', 'public') AND c.relkind IN ('r', 'p', 'S')",
    )
    .fetch_all(&mut *connection)
    .await
    .expect("tables");
    let mut checksums = BTreeMap::new();
    for table in tables {
        let sql = format!(
            "SELECT count(*) || ' ' || coalesce(md5(string_agg(row::text, E'\\n' ORDER BY row::text)), '') FROM {table} AS row"
        );
        let checksum = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *connection).await.expect("a checksum");
        checksums.insert(table, checksum);
    }
    checksums
}
