//! Circles: who is in, what is shared, and that authority takes effect at once.

mod audit;
mod frozen;
mod context;
mod invariants;
mod life;
mod members;
mod metrics;
mod recall;
mod sharing;
mod tasks;

use serde_json::{Value, json};

use crate::harness::{Client, Tenant};

/// A circle of these agents with these roles, made by the tenant's back end.
pub async fn circle_of(tenant: &Tenant, name: &str, members: &[(&str, &str)]) {
    let path = format!("/v1/circles/{name}");
    tenant.put(&path, json!({"name": name})).await.expect(201);
    if members.is_empty() {
        return;
    }
    let members: Vec<Value> = members.iter().map(|(agent, role)| json!({"agent_id": agent, "role": role})).collect();
    tenant.put(&format!("{path}/members"), json!({"members": members})).await.expect(200);
}

/// The members by name and role.
async fn members_of(client: &Client, circle: &str) -> Vec<(String, String)> {
    let page = client.get(&format!("/v1/circles/{circle}/members?limit=200")).await.expect(200);
    let text = |member: &Value, field: &str| member[field].as_str().expect("text").to_owned();
    let members = page["items"].as_array().expect("items").iter();
    members.map(|member| (text(member, "agent_id"), text(member, "role"))).collect()
}

/// Where a memory is.
fn path_of(memory: &Value) -> String {
    format!("/v1/memories/{}", memory["id"].as_str().expect("an id"))
}

/// Where its place in a circle is.
fn path_in(memory: &Value, circle: &str) -> String {
    format!("{}/circles/{circle}", path_of(memory))
}

/// What is shared in a circle, newest first.
async fn in_circle(client: &Client, circle: &str) -> Vec<String> {
    let page = client.get(&format!("/v1/circles/{circle}/memories?limit=200")).await.expect(200);
    let items = page["items"].as_array().expect("items").iter();
    items.map(|memory| memory["content"].as_str().expect("content").to_owned()).collect()
}
