//! Random histories of writes, edits, forgets, shares and expiries, with random questions in between: an instance with
//! scopes in memory, one without and one that keeps losing them answer alike, and as the rows say.

use cairn::events::{Event, Notice, Origin};
use cairn::ids::ScopeId;
use pgvector::HalfVector;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{assert_alike, at, brute, computed, path, without_index};
use crate::circles::{circle_of, path_of};
use crate::harness::{Client, Tenant, TestApp};

const WORDS: [&str; 12] = [
    "kettle", "copper", "stove", "garden", "lamp", "river", "Leeds", "sunrise", "violin", "bread", "harbour", "winter",
];
const AGENTS: [&str; 2] = ["ada", "bob"];
const CIRCLES: [&str; 2] = ["c", "d"];

/// A filter as it is sent, and as a condition on rows.
const FILTERS: [(&str, &str); 10] = [
    ("{}", "true"),
    ("{}", "true"),
    (r#"{"kinds":["event","decision"]}"#, "m.kind IN ('event', 'decision')"),
    (r#"{"tags_any":["red","blue"]}"#, "m.tags && '{red,blue}'"),
    (r#"{"tags_all":["red","blue"]}"#, "m.tags @> '{red,blue}'"),
    (r#"{"speakers":["Caroline"]}"#, "m.speaker = 'Caroline'"),
    (r#"{"sources":["talk 1"],"min_importance":0.4}"#, "m.source_id = 'talk 1' AND m.importance >= 0.4"),
    (r#"{"metadata":{"floor":{"gte":1,"lt":3}}}"#, "m.metadata->'floor' >= '1' AND m.metadata->'floor' < '3'"),
    (r#"{"metadata":{"floor":{"in":[2.0,"attic",null]}}}"#, "m.metadata->'floor' IN ('2', '\"attic\"', 'null')"),
    (
        r#"{"agent_ids":["ada"],"occurred":{"after":"2024-03-02T00:00:00Z"}}"#,
        "m.agent_uid IN (SELECT agent_uid FROM agents WHERE agent_id = 'ada') AND m.occurred_at >= '2024-03-02Z'",
    ),
];

struct World {
    tenant: Tenant,
    conn: PgConnection,
    random: StdRng,
    memories: Vec<Value>,
}

impl World {
    fn text(&mut self) -> String {
        let words: Vec<&str> = (0..self.random.random_range(1..9)).map(|_| *self.pick(&WORDS)).collect();
        format!("{}{}", words.join(" "), self.pick(&["", "", "?"]))
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        items.choose(&mut self.random).expect("items")
    }

    fn memory(&mut self) -> Value {
        let mut memory = json!({
            "content": format!("{} {}{}", self.text(), self.memories.len(), if self.memories.len().is_multiple_of(3) { "?" } else { "" }),
            "kind": self.pick(&["fact", "event", "decision"]),
            "importance": f64::from(self.random.random_range(0..10u8)) / 10.0,
            "tags": *self.pick(&[&[][..], &["red"], &["blue", "red"], &["green"]]),
        });
        if self.random.random_bool(0.6) {
            let (talk, seq) = (self.random.random_range(0..3u8), self.random.random_range(0..6u8));
            memory["source"] = json!({"type": "conversation", "id": format!("talk {talk}"), "seq": seq});
            memory["occurred_at"] = json!(format!("2024-03-0{}T10:00:00Z", self.random.random_range(1..4u8)));
        }
        if self.random.random_bool(0.5) {
            memory["speaker"] = json!(self.pick(&["Caroline", "Mel"]));
        }
        if self.random.random_bool(0.5) {
            memory["metadata"] =
                json!({"floor": self.pick(&[json!(1), json!(2), json!(3.5), json!("attic"), json!(null)])});
        }
        if self.random.random_bool(0.15) {
            memory["expires_at"] = json!(in_seconds(self.random.random_range(1..4)));
        }
        if self.random.random_bool(0.3) {
            memory["circles"] = json!([self.pick(&CIRCLES)]);
        }
        memory
    }

    /// Something happens. What is refused, as of a memory that has expired, is no matter.
    async fn step(&mut self, app: &TestApp) {
        let agent = *self.pick(&AGENTS);
        if self.memories.len() < 6 || self.random.random_bool(0.5) {
            let memory = self.memory();
            self.memories.push(self.tenant.remember_as(agent, memory).await);
            return;
        }
        let memory = self.random.random_range(0..self.memories.len());
        let path = path_of(&self.memories[memory]);
        let circle = *self.pick(&CIRCLES);
        let client = self.tenant.client.acting_as(self.memories[memory]["agent_id"].as_str().expect("an author"));
        match self.random.random_range(0..7u8) {
            0 => drop(client.patch(&path, json!({"content": format!("{} again", self.text())})).await),
            1 => drop(client.patch(&path, json!({"tags": ["blue"], "metadata": {"floor": 2}, "speaker": "Mel"})).await),
            2 => drop(client.patch(&path, json!({"source": {"type": "conversation", "id": "talk 0", "seq": 3}})).await),
            3 => drop(client.put_nothing(&format!("{path}/circles/{circle}")).await),
            4 => drop(client.delete(&format!("{path}/circles/{circle}")).await),
            5 => {
                app.purge_expired(self.tenant.id, 10).await;
            }
            _ => {
                self.memories.swap_remove(memory);
                client.delete(&path).await;
            }
        }
    }

    /// The scopes that an agent searches, in order.
    async fn scopes(&mut self, agent: &str, within: &Value) -> Vec<Uuid> {
        let own: Uuid = sqlx::query_scalar("SELECT agent_uid FROM agents WHERE tenant_id = $1 AND agent_id = $2")
            .bind(self.tenant.id)
            .bind(agent)
            .fetch_one(&mut self.conn)
            .await
            .expect("an agent");
        let circles: Vec<Uuid> = sqlx::query_scalar(
            "SELECT m.content_scope FROM circle_members m WHERE m.agent_uid = $1 ORDER BY m.circle_id",
        )
        .bind(own)
        .fetch_all(&mut self.conn)
        .await
        .expect("circles");
        if within == "private" { vec![own] } else { std::iter::once(own).chain(circles).collect() }
    }

    async fn next_expiry(&mut self) -> Option<f64> {
        let sql = "SELECT min(extract(epoch FROM expires_at))::float8 FROM placement_terms WHERE expires_at > now()";
        sqlx::query_scalar(sql).fetch_one(&mut self.conn).await.expect("an expiry")
    }
}

fn in_seconds(seconds: i64) -> String {
    let at = time::OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
    at.format(&time::format_description::well_known::Rfc3339).expect("a time")
}

/// What the server takes a question for: what another agent remembered word for word.
async fn understood(tenant: &Tenant, conn: &mut PgConnection, query: &str) -> (Vec<i32>, Vec<f32>) {
    // Said before, it is the memory that is there.
    let memory = tenant.post("/v1/agents/oracle/remember", json!({"content": query})).await.json();
    let id: Uuid = memory["id"].as_str().expect("an id").parse().expect("a UUID");
    let sql =
        "SELECT t.terms, p.embedding FROM placement_terms t JOIN placements p USING (memory_id) WHERE memory_id = $1";
    let (mut terms, vector): (Vec<i32>, HalfVector) =
        sqlx::query_as(sql).bind(id).fetch_one(conn).await.expect("a memory");
    // That it asks is a mark of what is remembered, and no word of the question.
    terms.retain(|term| *term != brute::question_mark());
    (terms, vector.to_vec().iter().map(|x| x.to_f32()).collect())
}

fn lose(app: &TestApp, tenant: &Tenant, scopes: &[Uuid]) {
    let scopes = scopes.iter().map(|scope| ScopeId::from_uuid(*scope)).collect();
    let event = Event::AgentDeleted { agent: Uuid::nil() };
    app.app.bus.publish(Notice { tenant: tenant.id, scopes, event, origin: Origin::Here });
}

async fn compare(world: &mut World, instances: &[(&str, Client)], seed: u64) -> usize {
    let agent = *world.pick(&AGENTS);
    let mode = *world.pick(&["hybrid", "hybrid", "semantic", "lexical"]);
    let within = world.pick(&[json!("all"), json!("private")]).clone();
    let (sent, condition) = *world.pick(&FILTERS);
    let query = world.text();
    let filter: Value = serde_json::from_str(sent).expect("a filter");
    let request = json!({"query": query, "mode": mode, "within": within, "filter": filter, "k": 100});
    let scopes = world.scopes(agent, &within).await;
    let (terms, vector) = understood(&world.tenant, &mut world.conn, &query).await;
    let what = format!("seed {seed}: {agent} {request}");
    // Until nothing expires between the first answer and the last.
    for _ in 0..20 {
        let before = world.next_expiry().await;
        let mut answers = Vec::new();
        for (_, client) in instances {
            answers.push(computed(client, agent, request.clone()).await);
        }
        let expected = brute::parts(&mut world.conn, &scopes, (&terms, &vector), condition).await;
        if world.next_expiry().await != before {
            continue;
        }
        for ((name, _), answer) in instances.iter().zip(&answers) {
            assert_alike(&answers[0], answer, &format!("{name}, {what}"));
            check(answer, &expected, mode, &format!("{name}, {what}"));
        }
        return answers.iter().filter(|answer| path(answer) == "hot_index").count();
    }
    panic!("something expires all the time");
}

fn check(answer: &Value, expected: &brute::Parts, mode: &str, what: &str) {
    let found = brute::explained(answer);
    let wanted = expected.iter().filter(|(_, (_, words))| mode != "lexical" || *words > 0.0);
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.map(|(id, _)| id).collect::<Vec<_>>(), "{what}");
    for (id, (meaning, words)) in &found {
        let (true_meaning, true_words) = expected[id];
        assert!(mode == "lexical" || (meaning - true_meaning.clamp(0.0, 1.0)).abs() < 1e-5, "{what}: {id} {meaning}");
        assert!(mode == "semantic" || (words - true_words).abs() < 1e-5, "{what}: {id} {words} {true_words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_postgres_answer_alike_and_as_the_rows_say() {
    let app = TestApp::start().await;
    let (without, losing) = (without_index(&app).await, app.sibling().await);
    for seed in 0..4 {
        let tenant = app.new_tenant().await;
        circle_of(&tenant, "c", &[("ada", "editor"), ("bob", "editor")]).await;
        circle_of(&tenant, "d", &[("ada", "editor"), ("bob", "editor")]).await;
        let names = ["in memory", "by Postgres", "losing what it holds"];
        let instances: Vec<(&str, Client)> =
            names.into_iter().zip([&app, &without, &losing].map(|instance| at(&tenant, instance))).collect();
        let conn = app.database.superuser().await;
        let mut world = World { tenant, conn, random: StdRng::seed_from_u64(seed), memories: Vec::new() };
        let mut in_memory = 0;
        for step in 0..60 {
            world.step(&app).await;
            if step % 2 == 1 {
                in_memory += compare(&mut world, &instances, seed).await;
            }
            if world.random.random_bool(0.3) {
                let scopes = world.scopes("ada", &json!("all")).await;
                lose(&losing, &world.tenant, &scopes);
            }
        }
        assert!(in_memory >= 50, "seed {seed}: only {in_memory} answers of 90 came from memory");
    }
}
