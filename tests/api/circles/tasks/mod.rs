//! Tasks of a circle: who may take them how far, at once or in turn, and what is kept of it.

mod leaving;
mod lists;
mod races;
mod requests;
mod states;
mod turmoil;

use reqwest::Method;
use serde_json::{Value, json};

use crate::circles::circle_of;
use crate::harness::{Answer, Client, Tenant, TestApp};

const MEMBERS: [(&str, &str); 5] =
    [("ada", "owner"), ("eve", "owner"), ("bob", "editor"), ("cat", "editor"), ("rod", "reader")];

/// A tenant with a circle `crew`: ada and eve own it, bob and cat edit, rod reads; zoe is no member.
struct Crew {
    app: TestApp,
    tenant: Tenant,
}

impl Crew {
    async fn start() -> Self {
        let app = TestApp::start().await;
        let tenant = app.new_tenant().await;
        circle_of(&tenant, "crew", &MEMBERS).await;
        tenant.put("/v1/agents/zoe", json!({})).await.expect(201);
        Self { app, tenant }
    }

    /// Asks as this agent; `-` is the back end, which acts as nobody.
    async fn ask(&self, agent: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        ask_at(&self.tenant, agent, method, path, body).await
    }

    async fn create(&self, agent: &str, task: Value) -> Value {
        self.ask(agent, Method::POST, TASKS, Some(task)).await.expect(201)
    }

    async fn get(&self, agent: &str, path: &str) -> Answer {
        self.ask(agent, Method::GET, path, None).await
    }

    async fn patch(&self, agent: &str, path: &str, body: Value) -> Answer {
        self.ask(agent, Method::PATCH, path, Some(body)).await
    }

    /// One of the moves, without a body.
    async fn step(&self, agent: &str, path: &str, step: &str) -> Answer {
        self.ask(agent, Method::POST, &format!("{path}/{step}"), None).await
    }

    async fn history(&self, path: &str) -> Vec<Value> {
        let page = self.tenant.get(&format!("{path}/history")).await.expect(200);
        page["items"].as_array().expect("items").clone()
    }

    /// A new task that these moves have happened to; returns its path.
    async fn task_after(&self, steps: &[(&str, &str)]) -> String {
        let path = path(&self.create("ada", json!({"title": "Mend the kettle"})).await);
        for (agent, step) in steps {
            self.step(agent, &path, step).await.expect(200);
        }
        path
    }

    /// How often this was noted of the circle.
    async fn noted(&self, event: &str) -> i64 {
        let noted = sqlx::query_scalar("SELECT count(*) FROM circle_events WHERE tenant_id = $1 AND event = $2");
        let noted = noted.bind(self.tenant.id).bind(event);
        noted.fetch_one(&mut self.app.database.superuser().await).await.expect("a count")
    }

    /// The tags of the circle's content and of its board.
    async fn stamps(&self) -> (uuid::Uuid, uuid::Uuid) {
        let stamps = sqlx::query_as(
            "SELECT content.tag, board.tag
               FROM circles c
               JOIN scope_epochs content ON content.scope_id = c.content_scope
               JOIN scope_epochs board ON board.scope_id = c.board_scope
              WHERE c.tenant_id = $1 AND c.circle_id = 'crew'",
        );
        let stamps = stamps.bind(self.tenant.id);
        stamps.fetch_one(&mut self.app.database.superuser().await).await.expect("stamps")
    }
}

const TASKS: &str = "/v1/circles/crew/tasks";

async fn ask_at(client: &Client, agent: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
    let client = if agent == "-" { client.clone() } else { client.acting_as(agent) };
    let request = client.request(method, path);
    client.send(if let Some(body) = body { request.json(&body) } else { request }).await
}

fn path(task: &Value) -> String {
    format!("{TASKS}/{}", task["id"].as_str().expect("an id"))
}
