//! Three instances over one database and one Redis, each with a way of its own to Redis that can be hurt.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::log::Log;
use crate::harness::{Client, Tenant, TestApp};
use crate::support::fault::{FaultProxy, Target};
use crate::support::process::wait;

const INSTANCES: usize = 3;

pub struct Scene {
    pub instances: Vec<Instance>,
    /// Another instance, which has no Redis to lose.
    pub spared: TestApp,
    pub tenant: Tenant,
    pub log: Log,
}

pub struct Instance {
    pub app: TestApp,
    pub way: FaultProxy,
    /// Of the tenant, with this instance.
    pub client: Client,
}

impl Scene {
    /// Redis listens on this port; the instances present these credentials, as they stand in a URL.
    pub async fn with(port: u16, credentials: &str, deadline: Duration, log: Log) -> Self {
        let first = FaultProxy::start(Target::Port(port)).await;
        let url = |way: &FaultProxy| Some(format!("redis://{credentials}127.0.0.1:{}", way.port));
        let deadline_ms = deadline.as_millis() as u64;
        let app = TestApp::start_with(|config| {
            (config.cache.redis_url, config.cache.redis_deadline_ms) = (url(&first), deadline_ms);
        })
        .await;
        let tenant = app.new_tenant().await;
        let mut instances = vec![Instance { client: tenant.client.clone(), app, way: first }];
        for _ in 1..INSTANCES {
            let way = FaultProxy::start(Target::Port(port)).await;
            let first: &TestApp = &instances[0].app;
            let change = |config: &mut cairn::config::Config| {
                (config.cache.redis_url, config.cache.redis_deadline_ms) = (url(&way), deadline_ms);
            };
            let app = first.sibling_through(first.database.options(), change).await;
            instances.push(Instance { client: tenant.client.at(app.url()), app, way });
        }
        let spared = instances[0].app.sibling().await;
        // Nobody writes to this agent, so that what it recalls stays a hit.
        tenant.remember("quiet", "Nothing happens here.").await;
        Self { instances, spared, tenant, log }
    }

    pub fn clients(&self) -> Vec<Client> {
        self.instances.iter().map(|instance| instance.client.clone()).collect()
    }

    /// Until what any instance has just computed is a hit from Redis on any other; how long that took.
    pub async fn wait_for_hits(&self, patience: Duration) -> Duration {
        let started = Instant::now();
        for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
            while !self.shares(from, to).await {
                assert!(started.elapsed() < patience, "instance {to} has no hits from Redis of what {from} stores");
            }
        }
        started.elapsed()
    }

    async fn shares(&self, from: usize, to: usize) -> bool {
        let question = format!("What happens? {}", uuid::Uuid::new_v4());
        assert_eq!(self.instances[from].source(&question).await, "miss");
        // Nobody waits until an answer is stored.
        tokio::time::sleep(Duration::from_millis(30)).await;
        self.instances[to].source(&question).await.starts_with("hit; layer=redis")
    }
}

impl Instance {
    /// Where the answer to this question comes from, for the agent that nobody writes to.
    pub async fn source(&self, question: &str) -> String {
        let request = self.client.request(Method::POST, "/v1/agents/quiet/recall");
        let answer = self.client.send(request.json(&json!({ "query": question }))).await;
        assert_eq!(answer.expect(200)["results"][0]["memory"]["content"], "Nothing happens here.");
        answer.header("cairn-cache").to_owned()
    }

    /// What readiness says of Redis. Whatever that is, the instance is ready.
    pub async fn readiness(&self) -> Value {
        let ready = self.app.stranger().get("/readyz").await.expect(200);
        assert_eq!(ready["ready"], true, "{ready}");
        ready["redis"].clone()
    }

    /// What the statistics say of Redis.
    pub async fn statistics(&self) -> Value {
        self.client.get("/v1/cache/stats").await.expect(200)["redis"].clone()
    }

    /// How long it takes until readiness and statistics say that something is wrong.
    pub async fn wait_until_noticed(&self, hurt: Instant) -> Duration {
        wait("the instance notices", async || self.readiness().await["ok"] == false).await;
        let noticed = hurt.elapsed();
        assert_eq!(self.statistics().await["ok"], false);
        noticed
    }

    /// How often calls to Redis came to be kept back: all of them, or stores.
    pub async fn opened(&self, calls: &str) -> usize {
        let metrics = self.app.stranger().get("/metrics").await.text;
        let name = format!("cairn_redis_breaker_opened_total{{calls=\"{calls}\"}} ");
        let count = metrics.lines().find_map(|line| line.strip_prefix(&name)).expect("a count");
        count.parse().expect("a number")
    }
}
