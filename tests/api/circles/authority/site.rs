//! Three servers over one database and one Redis, and a circle whose name is in all that is its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cairn::config::Config;
use serde_json::json;

use crate::circles::circle_of;
use crate::harness::{Answer, Client, Cluster, Tenant, TestApp};
use crate::support::attempts::{Attempt, Standing};
use crate::support::authority::{Authority, Call};
use crate::support::redis::Redis;

pub const CIRCLE: &str = "heron";

/// Who removes and adds members, each at an instance of its own.
pub const OWNERS: [&str; 3] = ["heron-1", "heron-2", "heron-3"];

pub struct Site {
    instances: [TestApp; 3],
    tenant: Tenant,
    started: Instant,
    pub authority: Authority,
    calls: AtomicUsize,
    _redis: Redis,
}

impl Site {
    pub async fn start() -> Arc<Self> {
        let redis = Redis::start().await;
        let settings = |config: &mut Config| {
            config.cache.redis_url = Some(redis.url());
            // Deadlines are for production; a busy test machine may be slow.
            config.cache.redis_deadline_ms = 1_000;
            config.database.acquire_timeout_ms = 10_000;
        };
        let first = TestApp::start_on(Cluster::shared().await, settings).await;
        let second = first.sibling_through(first.database.options(), settings).await;
        let third = first.sibling_through(first.database.options(), settings).await;
        let tenant = first.new_tenant().await;
        circle_of(&tenant, CIRCLE, &OWNERS.map(|owner| (owner, "owner"))).await;
        let (authority, calls, started) = (Authority::default(), AtomicUsize::default(), Instant::now());
        Arc::new(Self { instances: [first, second, third], tenant, started, authority, calls, _redis: redis })
    }

    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// A number that nobody else gets.
    pub fn number(&self) -> usize {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// The tenant's back end at an instance.
    pub fn back_end(&self, instance: usize) -> Client {
        self.tenant.at(self.instances[instance % 3].url())
    }

    pub fn owner(&self, number: usize) -> Client {
        self.back_end(number).acting_as(OWNERS[number % 3])
    }

    /// Every other agent has a key of its own, the rest are named by the back end.
    pub async fn client_of(&self, agent: &str, has_key: bool) -> Client {
        match has_key {
            true => self.instances[0].client(self.tenant.id, "all", Some(agent)).await,
            false => self.tenant.acting_as(agent),
        }
    }

    /// An editor of the circle with a bit of everything in it.
    pub async fn new_editor(&self, agent: &str) -> Standing {
        let member = format!("/v1/circles/{CIRCLE}/members/{agent}");
        self.tenant.put(&member, json!({"role": "editor"})).await.expect(201);
        let id = |answer: &serde_json::Value| answer["id"].as_str().expect("an id").to_owned();
        let remember = async |author: &str, content: String, circles: &[&str]| {
            id(&self.tenant.remember_as(author, json!({"content": content, "circles": circles})).await)
        };
        let task = json!({"title": format!("Find a stone of {CIRCLE} for {agent}")});
        Standing {
            agent: agent.to_owned(),
            circle: CIRCLE.to_owned(),
            shared: remember(OWNERS[0], format!("A stone of {CIRCLE} for {agent}."), &[CIRCLE]).await,
            own: remember(agent, format!("A stone of {agent}."), &[CIRCLE]).await,
            loose: remember(agent, format!("Another stone of {agent}."), &[]).await,
            task: id(&self.tenant.post(&format!("/v1/circles/{CIRCLE}/tasks"), task).await.expect(201)),
        }
    }

    /// Asks, and logs what came of it.
    pub async fn try_out(&self, agent: usize, client: &Client, attempt: &Attempt, number: usize) {
        let mut request = client.request(attempt.method.clone(), &format!("/v1{}", attempt.path));
        if attempt.is_repeated {
            request = request.header("idempotency-key", format!("agent {agent}"));
        }
        let sent = self.now();
        // As it comes: a look at the specification takes longer than the call.
        let answer = if attempt.body.is_null() { request } else { request.json(&attempt.body) }.send().await;
        let answer = answer.expect("the server answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.expect("a whole answer");
        let done = self.now();
        let answer = Answer { status, headers, text };
        assert!(status < 500, "{attempt:?}: {}", answer.text);
        let call = Call {
            number,
            agent,
            what: attempt.what,
            is_write: attempt.is_write,
            sent,
            done,
            status: Some(status),
            shows: answer.text.contains(CIRCLE) && !names_where_it_is_frozen(&answer),
            is_hit: answer.header("cairn-cache").starts_with("hit"),
        };
        self.authority.called(call);
    }
}

/// A refusal of an edit says where the memory is frozen, by name, to whoever shared it there.
fn names_where_it_is_frozen(answer: &Answer) -> bool {
    answer.status == 409 && answer.json()["code"] == "shared_readonly"
}
