//! The write path: whatever two writers do to each other, every stamp follows its data, nobody
//! deadlocks, and what is left is what one of the two orders would have left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::harness::proxy::Proxy;
use crate::harness::{Answer, Client, Tenant, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_catches_a_change_without_a_new_stamp() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is broken.").await;
    tenant.put("/v1/circles/crew", json!({"name": "Crew"})).await.expect(201);
    tenant.post("/v1/circles/crew/tasks", json!({"title": "Mend it"})).await.expect(201);
    let mut superuser = app.database.superuser().await;
    for change in [
        "UPDATE tasks SET priority = 9",
        "UPDATE memories SET content = 'x'",
        "UPDATE placements SET n = n",
        "UPDATE placement_terms SET terms = '{}'",
        "DELETE FROM placements",
        "DELETE FROM placement_terms",
    ] {
        let error = sqlx::query(change).execute(&mut superuser).await.expect_err(change);
        assert!(error.to_string().contains("without a new stamp"), "{change}: {error}");
        let bumped = format!("BEGIN; UPDATE scope_epochs SET n = n + 1; {change}; ROLLBACK");
        sqlx::raw_sql(AssertSqlSafe(bumped)).execute(&mut superuser).await.expect(change);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mutation_gives_its_scope_a_new_tag_and_number() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let first = tenant.remember_as("ada", json!({"content": "one", "key": "k", "tags": ["t"]})).await;
    let path = format!("/v1/memories/{}", first["id"].as_str().expect("id"));
    let mut last = stamp(&app).await;
    let mut moved = async |what: &str, expected: bool| {
        let now = stamp(&app).await;
        assert_eq!(now.0 > last.0, expected, "{what}: number");
        assert_eq!(now.1 != last.1, expected, "{what}: tag");
        last = now;
    };
    tenant.remember("ada", "two").await;
    moved("remember", true).await;
    tenant.post("/v1/agents/ada/remember", json!({"content": "two"})).await.expect(200);
    moved("a duplicate", false).await;
    tenant.post("/v1/agents/ada/remember", json!({"content": "three", "key": "k"})).await.expect(200);
    moved("a keyed replacement", true).await;
    tenant.patch(&path, json!({"importance": 0.1})).await.expect(200);
    moved("an edit", true).await;
    tenant.patch(&path, json!({"importance": 0.1})).await.expect(200);
    moved("an edit that changes nothing", false).await;
    tenant
        .post("/v1/agents/ada/remember/batch", json!({"memories": [{"content": "a"}, {"content": "b"}]}))
        .await
        .expect(200);
    moved("a batch", true).await;
    tenant.delete(&path).await;
    moved("forget", true).await;
    tenant.post("/v1/agents/ada/forget", json!({"filter": {"kinds": ["fact"]}})).await.expect(200);
    moved("forget by filter", true).await;
    tenant.get("/v1/agents/ada/memories").await.expect(200);
    tenant.post("/v1/agents/ada/recall", json!({"query": "x"})).await.expect(200);
    moved("reading", false).await;
}

async fn stamp(app: &TestApp) -> (i64, uuid::Uuid) {
    let mut superuser = app.database.superuser().await;
    sqlx::query_as(
        "SELECT e.n, e.tag FROM scope_epochs e JOIN agents a ON a.agent_uid = e.scope_id WHERE a.agent_id = 'ada'",
    )
    .fetch_one(&mut superuser)
    .await
    .expect("a stamp")
}

/// The mutations there are. Each acts on the memory with the key `k`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mutation {
    Edit,
    Forget,
    Replace,
    Duplicate,
    Purge,
    ForgetMatching,
    Erase,
}

const MUTATIONS: [Mutation; 7] = [
    Mutation::Edit,
    Mutation::Forget,
    Mutation::Replace,
    Mutation::Duplicate,
    Mutation::Purge,
    Mutation::ForgetMatching,
    Mutation::Erase,
];

struct Scene {
    tenant: Tenant,
    memory: String,
}

impl Scene {
    /// A fresh tenant with the memory that two writers will fight for, and one that nobody touches.
    async fn set(app: &TestApp) -> Self {
        let tenant = app.new_tenant().await;
        let memory = json!({"content": "a stone", "key": "k", "tags": ["t"], "expires_at": "2999-01-01T00:00:00Z"});
        let memory = tenant.remember_as("ada", memory).await;
        tenant.remember("ada", "a bystander").await;
        Self { tenant, memory: memory["id"].as_str().expect("id").to_owned() }
    }

    /// Makes the memory due for the purge.
    async fn expire(&self, superuser: &mut PgConnection) {
        let id = &self.memory;
        let sql = format!(
            "BEGIN;
             UPDATE scope_epochs SET n = n + 1 WHERE scope_id IN (SELECT scope_id FROM placement_terms WHERE memory_id = '{id}');
             UPDATE memories SET expires_at = now() WHERE memory_id = '{id}';
             UPDATE placements SET expires_at = now() WHERE memory_id = '{id}';
             UPDATE placement_terms SET expires_at = now() WHERE memory_id = '{id}';
             COMMIT"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(superuser).await.expect("expires");
    }
}

/// Carries out a mutation through one instance; answers its status, 0 for the purge.
async fn act(mutation: Mutation, app: &TestApp, client: &Client, scene: &Scene, word: &str) -> u16 {
    let client = client.at(app.url());
    let path = format!("/v1/memories/{}", scene.memory);
    let answer: Answer = match mutation {
        Mutation::Edit => client.patch(&path, json!({"content": format!("{word} edited")})).await,
        Mutation::Forget => client.delete(&path).await,
        Mutation::Replace => {
            client.post("/v1/agents/ada/remember", json!({"content": format!("{word} replaced"), "key": "k"})).await
        }
        Mutation::Duplicate => client.post("/v1/agents/ada/remember", json!({"content": "a stone"})).await,
        Mutation::ForgetMatching => client.post("/v1/agents/ada/forget", json!({"filter": {"tags_any": ["t"]}})).await,
        Mutation::Erase => client.delete("/v1/agents/ada").await,
        Mutation::Purge => {
            app.purge_expired(scene.tenant.id, 100).await;
            return 0;
        }
    };
    assert!(answer.status < 500, "{mutation:?}: {}", answer.text);
    answer.status
}

/// Stops the first writer before each of its statements in turn and lets every kind of second run meanwhile.
async fn interleave_with_all(first: Mutation) {
    let app = TestApp::start().await;
    let proxy = Proxy::start(app.database.cluster.socket()).await;
    let slowed =
        app.sibling_through(proxy.options(&app.database.name), |config| config.database.write_timeout_ms = 20_000);
    let slowed = slowed.await;
    let mut superuser = app.database.superuser().await;
    for second in MUTATIONS {
        interleave(&app, &slowed, &proxy, &mut superuser, first, second).await;
    }
    assert_eq!(deadlocks(&mut superuser).await, 0);
    superuser.close().await.expect("closes");
}

macro_rules! interleavings {
    ($($name:ident: $first:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            interleave_with_all(Mutation::$first).await;
        }
    )*};
}

interleavings! {
    an_edit_interleaves_with_every_mutation_at_every_step: Edit,
    a_forget_interleaves_with_every_mutation_at_every_step: Forget,
    a_replacement_interleaves_with_every_mutation_at_every_step: Replace,
    a_duplicate_interleaves_with_every_mutation_at_every_step: Duplicate,
    a_purge_interleaves_with_every_mutation_at_every_step: Purge,
    a_forget_by_filter_interleaves_with_every_mutation_at_every_step: ForgetMatching,
    an_erasure_interleaves_with_every_mutation_at_every_step: Erase,
}

/// Postgres resolves a deadlock by ending one side, which is then retried: only its statistics tell.
pub async fn deadlocks(superuser: &mut PgConnection) -> i64 {
    // Backends report about once a second.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    sqlx::query_scalar("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        .fetch_one(superuser)
        .await
        .expect("statistics")
}

/// A remember finds no memory of its key, and before it holds its locks someone else makes one and edits it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_appears_before_the_locks_is_locked_in_order() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "a bystander").await;
    let proxy = Proxy::start(app.database.cluster.socket()).await;
    let slowed =
        app.sibling_through(proxy.options(&app.database.name), |config| config.database.write_timeout_ms = 20_000);
    let slowed = slowed.await;
    let late = tenant.client.at(slowed.url());
    // Every statement is prepared now, so that from here on each is one message.
    late.remember_as("ada", json!({"content": "connected", "key": "other"})).await;
    // The gate, BEGIN, the agent's lock and the search for the key have passed; the scope is not locked yet.
    proxy.allow(4);
    let replace = late.post("/v1/agents/ada/remember", json!({"content": "late", "key": "k"}));
    let meanwhile = async {
        assert!(wait_until_held_or(&proxy, &AtomicBool::new(false)).await);
        tenant.remember_as("ada", json!({"content": "early", "key": "k"})).await;
        let mut editor = app.database.superuser().await;
        let lock = "BEGIN; SELECT FROM memories WHERE key = 'k' FOR NO KEY UPDATE";
        sqlx::raw_sql(lock).execute(&mut editor).await.expect("locks the memory");
        proxy.release();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let lock = "SELECT FROM scope_epochs ORDER BY scope_id FOR NO KEY UPDATE; COMMIT";
        sqlx::raw_sql(lock).execute(&mut editor).await.expect("locks the scope, as every editor does");
    };
    let (answer, ()) = tokio::join!(replace, meanwhile);
    assert_eq!(answer.expect(200)["content"], "late");
    assert_eq!(deadlocks(&mut app.database.superuser().await).await, 0);
}

/// The gate, and one call of a function: no lookups, no transaction around it, and nobody asks afterwards whether the
/// connection still lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_new_is_remembered_and_found_with_two_questions_to_postgres() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let proxy = Proxy::start(app.database.cluster.socket()).await;
    let slowed = app.sibling_through(proxy.options(&app.database.name), |_| {}).await;
    let caller = tenant.client.at(slowed.url());
    let recall = json!({"query": "stone", "cache": "bypass"});
    // From here on every statement is prepared, and the scope is in memory.
    for text in ["a stone", "another stone"] {
        caller.remember("ada", text).await;
        caller.recalled("ada", recall.clone()).await;
    }
    let two_suffice = async |path: &str, body: Value| {
        proxy.allow(2);
        let answered = tokio::time::timeout(Duration::from_millis(500), caller.post(path, body)).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let suffice = answered.is_ok_and(|answer| answer.status < 300) && !proxy.holds();
        proxy.release();
        suffice
    };
    // Now and then some housekeeping asks something too.
    let mut found = false;
    for _ in 0..10 {
        found |= two_suffice("/v1/agents/ada/recall", recall.clone()).await;
    }
    let mut remembered = false;
    for number in 0..10 {
        remembered |= two_suffice("/v1/agents/ada/remember", json!({"content": format!("stone {number}")})).await;
    }
    assert!(found && remembered, "found: {found}, remembered: {remembered}");
}

async fn interleave(
    app: &TestApp,
    slowed: &TestApp,
    proxy: &Proxy,
    superuser: &mut PgConnection,
    first: Mutation,
    second: Mutation,
) {
    for step in 0.. {
        let scene = Scene::set(app).await;
        if [first, second].contains(&Mutation::Purge) {
            scene.expire(superuser).await;
        }
        proxy.allow(step);
        let done = AtomicBool::new(false);
        let one = async {
            act(first, slowed, &scene.tenant, &scene, "first").await;
            done.store(true, Ordering::Relaxed);
        };
        let two = async {
            let held = wait_until_held_or(proxy, &done).await;
            // If the second waits for a lock of the first, the first must go on for either to end.
            let two = act(second, app, &scene.tenant, &scene, "second");
            tokio::pin!(two);
            if tokio::time::timeout(Duration::from_millis(25), &mut two).await.is_err() {
                proxy.release();
                two.await;
            }
            proxy.release();
            held
        };
        let (_, held) = tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(one, two) })
            .await
            .unwrap_or_else(|_| panic!("{first:?} and {second:?} block each other at step {step}"));
        check(&scene.tenant, superuser, &format!("{first:?} stopped at {step} for {second:?}")).await;
        if !held {
            assert!(step >= 4, "{first:?} was stopped {step} times only");
            return;
        }
    }
}

/// Whether the first writer was stopped, rather than done before its next statement.
pub async fn wait_until_held_or(proxy: &Proxy, done: &AtomicBool) -> bool {
    loop {
        if proxy.holds() || done.load(Ordering::Relaxed) {
            return proxy.holds();
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What must be true in the end, whichever came first.
async fn check(tenant: &Tenant, superuser: &mut PgConnection, what: &str) {
    // Every placement belongs to a memory, agrees with it about its words, and is not newer than its scope.
    let broken: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM placement_terms t
           LEFT JOIN memories m USING (tenant_id, memory_id)
           LEFT JOIN placements p USING (tenant_id, scope_id, memory_id)
           LEFT JOIN scope_epochs e USING (tenant_id, scope_id)
          WHERE t.tenant_id = $1
            AND (m.memory_id IS NULL OR p.memory_id IS NULL OR e.scope_id IS NULL OR t.n > e.n OR p.n <> t.n
                 OR m.expires_at IS DISTINCT FROM t.expires_at OR m.expires_at IS DISTINCT FROM p.expires_at)",
    )
    .bind(tenant.id)
    .fetch_one(&mut *superuser)
    .await
    .expect("counts");
    assert_eq!(broken, 0, "{what}: placements and memories disagree");
    if tenant.get("/v1/agents/ada").await.status == 404 {
        return;
    }
    let listed = tenant.get("/v1/agents/ada/memories").await.expect(200);
    let mut listed: Vec<&str> = listed["items"].as_array().expect("items").iter().map(content).collect();
    let recalled = tenant.recalled("ada", json!({"query": "stone edited replaced bystander", "k": 100})).await;
    let mut recalled: Vec<&str> = recalled.iter().map(String::as_str).collect();
    listed.sort_unstable();
    recalled.sort_unstable();
    assert_eq!(recalled, listed, "{what}: recall and list disagree");
    for text in &listed {
        let found = tenant.recalled("ada", json!({"query": text, "mode": "lexical", "k": 1})).await;
        assert_eq!(found, [*text], "{what}: the words of a memory are not its own");
    }
    let keyed = listed.iter().filter(|text| **text != "a bystander").count();
    assert!(keyed <= 1 || listed.contains(&"a stone"), "{what}: one key, two memories: {listed:?}");
}

fn content(memory: &Value) -> &str {
    memory["content"].as_str().expect("content")
}
