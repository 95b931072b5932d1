//! What is cached, and that it is never wrong: two servers over one database and one Redis.

mod degraded;
mod embeddings;
mod events;
mod flush;
mod freshness;
mod recalls;
mod sharing;
mod stats;
mod timing;

use cairn::cache::Owner;
use cairn::config::Config;
use cairn::rates::Budget;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::harness::{Answer, Client, Cluster, Tenant, TestApp};
use crate::support::redis::Redis;

/// Two servers that share a database and a Redis.
pub struct Pair {
    pub here: TestApp,
    pub there: TestApp,
    pub redis: Redis,
    pub tenant: Tenant,
}

impl Pair {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl Fn(&mut Config)) -> Self {
        let redis = Redis::start().await;
        let settings = |config: &mut Config| {
            config.cache.redis_url = Some(redis.url());
            // A deadline is for production; a busy test machine may be slow.
            config.cache.redis_deadline_ms = 1_000;
            change(config);
        };
        let here = TestApp::start_on(Cluster::shared().await, settings).await;
        let there = here.sibling_through(here.database.options(), settings).await;
        let tenant = here.new_tenant().await;
        Self { here, there, redis, tenant }
    }

    /// The tenant's client at the other server.
    pub fn other(&self) -> Client {
        self.tenant.at(self.there.url())
    }

    async fn owner(&self) -> Owner {
        owner(&self.here, &self.tenant).await
    }

    /// What Redis holds under a name that begins so, after what was computed has got there.
    async fn keys(&self, kind: &str) -> Vec<String> {
        let pattern = format!("cairn:{}:{kind}*", self.tenant.id);
        self.redis.ask(deadpool_redis::redis::cmd("KEYS").arg(pattern)).await.expect("keys")
    }

    pub async fn wait_for_keys(&self, kind: &str, count: usize) -> Vec<String> {
        for _ in 0..200 {
            let keys = self.keys(kind).await;
            if keys.len() == count {
                return keys;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("not {count} keys of {kind}: {:?}", self.keys(kind).await);
    }
}

async fn owner(app: &TestApp, tenant: &Tenant) -> Owner {
    let mut database = app.database.superuser().await;
    let version =
        sqlx::query_scalar("SELECT max(version) FROM tenant_secrets WHERE tenant_id = $1 AND purpose = 'cache'");
    let secret = version.bind(tenant.id).fetch_one(&mut database).await.expect("a secret");
    Owner { tenant: tenant.id, secret, budget: Budget::default() }
}

pub async fn ask(client: &Client, agent: &str, question: Value) -> Answer {
    let answer = client.post(&format!("/v1/agents/{agent}/recall"), question).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer
}

/// `hit local`, `hit redis`, `miss` or `bypass`; the age has to be there and is left out.
pub fn source(answer: &Answer) -> String {
    let header = answer.header("cairn-cache");
    let Some((hit, age)) = header.split_once("; age=") else {
        return header.to_owned();
    };
    age.parse::<u64>().unwrap_or_else(|_| panic!("no age in {header:?}"));
    hit.replace("; layer=", " ")
}

/// A circle of these agents, made by hand.
async fn circle(app: &TestApp, tenant: &Tenant, name: &str, members: &[&str]) {
    let mut database = app.database.superuser().await;
    let (tenant, members) = (tenant.id, members.join("','"));
    let sql = format!(
        "INSERT INTO circles (tenant_id, circle_uid, circle_id, name, content_scope, board_scope)
              VALUES ('{tenant}', gen_random_uuid(), '{name}', 'c', gen_random_uuid(), gen_random_uuid());
         INSERT INTO scope_epochs (tenant_id, scope_id, tag)
              SELECT tenant_id, unnest(ARRAY[content_scope, board_scope]), gen_random_uuid()
                FROM circles WHERE circle_id = '{name}';
         INSERT INTO circle_members (tenant_id, agent_uid, circle_uid, role, circle_id, content_scope)
              SELECT a.tenant_id, a.agent_uid, c.circle_uid, 'editor', c.circle_id, c.content_scope
                FROM agents a, circles c
               WHERE a.tenant_id = '{tenant}' AND a.agent_id IN ('{members}')
                 AND c.tenant_id = '{tenant}' AND c.circle_id = '{name}'"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut database).await.expect("a circle");
}

/// Puts all of an agent's memories into a circle, by hand, stamps and all.
async fn share(app: &TestApp, tenant: &Tenant, agent: &str, name: &str) {
    let mut database = app.database.superuser().await;
    let tenant = tenant.id;
    let circle = format!("(SELECT content_scope FROM circles WHERE tenant_id = '{tenant}' AND circle_id = '{name}')");
    let of_agent = format!(
        "tenant_id = '{tenant}' AND scope_id = (SELECT agent_uid FROM agents WHERE tenant_id = '{tenant}' AND agent_id = '{agent}')"
    );
    let sql = format!(
        "BEGIN;
         UPDATE scope_epochs SET n = n + 1, tag = gen_random_uuid() WHERE tenant_id = '{tenant}' AND scope_id = {circle};
         INSERT INTO placements (tenant_id, scope_id, memory_id, window_no, n, dims, expires_at, embedding)
              SELECT tenant_id, {circle}, memory_id, window_no, 1, dims, expires_at, embedding FROM placements WHERE {of_agent};
         INSERT INTO placement_terms (tenant_id, scope_id, memory_id, n, expires_at, terms)
              SELECT tenant_id, {circle}, memory_id, 1, expires_at, terms FROM placement_terms WHERE {of_agent};
         COMMIT"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut database).await.expect("shared");
}

fn kettle() -> Value {
    json!({"query": "where is the kettle", "k": 20})
}
