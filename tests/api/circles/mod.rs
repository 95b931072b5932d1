//! Circles: who is in, what is shared, and that authority takes effect at once.

mod audit;
mod authority;
mod context;
mod frozen;
mod invariants;
mod life;
mod members;
mod metrics;
mod property;
mod races;
mod recall;
mod scores;
mod sharing;
mod tasks;

use serde_json::{Value, json};

use sqlx::PgConnection;

use crate::harness::{Client, Tenant};

/// A circle of these agents with these roles, made by the tenant's back end.
pub async fn circle_of(client: &Client, name: &str, members: &[(&str, &str)]) {
    let path = format!("/v1/circles/{name}");
    client.put(&path, json!({"name": name})).await.expect(201);
    if members.is_empty() {
        return;
    }
    let members: Vec<Value> = members.iter().map(|(agent, role)| json!({"agent_id": agent, "role": role})).collect();
    client.put(&format!("{path}/members"), json!({"members": members})).await.expect(200);
}

/// The members by name and role.
async fn members_of(client: &Client, circle: &str) -> Vec<(String, String)> {
    let page = client.get(&format!("/v1/circles/{circle}/members?limit=200")).await.expect(200);
    let text = |member: &Value, field: &str| member[field].as_str().expect("text").to_owned();
    let members = page["items"].as_array().expect("items").iter();
    members.map(|member| (text(member, "agent_id"), text(member, "role"))).collect()
}

/// Where a memory is.
pub fn path_of(memory: &Value) -> String {
    format!("/v1/memories/{}", memory["id"].as_str().expect("an id"))
}

/// Where its place in a circle is.
pub fn path_in(memory: &Value, circle: &str) -> String {
    format!("{}/circles/{circle}", path_of(memory))
}

/// What is shared in a circle, newest first.
async fn in_circle(client: &Client, circle: &str) -> Vec<String> {
    let page = client.get(&format!("/v1/circles/{circle}/memories?limit=200")).await.expect(200);
    let items = page["items"].as_array().expect("items").iter();
    items.map(|memory| memory["content"].as_str().expect("content").to_owned()).collect()
}

/// What circles show is what the audit says is shared, and every place of a memory agrees with the author's own.
async fn assert_consistent(superuser: &mut PgConnection, tenant: &Tenant, what: &str) {
    let broken: Vec<String> = sqlx::query_scalar(
        "SELECT format('place %s, share %s', t.memory_id, s.memory_id)
           FROM (SELECT t.*, c.circle_uid FROM placement_terms t JOIN circles c ON c.content_scope = t.scope_id) t
           FULL JOIN (SELECT * FROM shares WHERE ended_at IS NULL) s USING (tenant_id, circle_uid, memory_id)
          WHERE tenant_id = $1 AND (t.memory_id IS NULL OR s.memory_id IS NULL)
          UNION ALL
         SELECT format('the places of %s disagree', t.memory_id)
           FROM placement_terms t
           JOIN memories m USING (tenant_id, memory_id)
           LEFT JOIN placement_terms own
             ON own.tenant_id = t.tenant_id AND own.scope_id = m.agent_uid AND own.memory_id = t.memory_id
           LEFT JOIN placements p ON p.tenant_id = t.tenant_id AND p.scope_id = t.scope_id AND p.memory_id = t.memory_id
           LEFT JOIN placements q
             ON q.tenant_id = t.tenant_id AND q.scope_id = m.agent_uid AND q.memory_id = t.memory_id
                AND q.window_no = p.window_no
           LEFT JOIN scope_epochs e ON e.tenant_id = t.tenant_id AND e.scope_id = t.scope_id
          WHERE t.tenant_id = $1
            AND (e.n IS NULL OR t.n > e.n OR t.n IS DISTINCT FROM p.n OR t.terms IS DISTINCT FROM own.terms
                 OR p.embedding IS DISTINCT FROM q.embedding OR t.expires_at IS DISTINCT FROM m.expires_at
                 OR p.expires_at IS DISTINCT FROM m.expires_at)",
    )
    .bind(tenant.id)
    .fetch_all(superuser)
    .await
    .expect("runs");
    assert!(broken.is_empty(), "{what}: {broken:?}");
}
