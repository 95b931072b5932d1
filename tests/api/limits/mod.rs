//! How much may be asked for in a time, and that one tenant does not stand in another's way.

mod concurrency;
mod credentials;
mod instances;
mod quotas;
mod requests;
mod tokens;
mod turns;

use cairn::ids::TenantId;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, Tenant, TestApp};

/// Sets quotas of a tenant, as its operator.
async fn set_quotas(app: &TestApp, tenant: &Tenant, quotas: Value) {
    let operator = app.client(TenantId::OPERATOR, "platform", None).await;
    let path = format!("/v1/platform/tenants/{}", tenant.id);
    operator.patch(&path, json!({ "quotas": quotas })).await.expect(200);
}

/// A tenant with quotas.
async fn limited(app: &TestApp, quotas: Value) -> Tenant {
    let tenant = app.new_tenant().await;
    set_quotas(app, &tenant, quotas).await;
    tenant
}

/// Sends so many cheap requests one after the other.
async fn send(client: &Client, requests: usize) -> Vec<Answer> {
    let mut answers = Vec::new();
    for _ in 0..requests {
        answers.push(client.get("/v1/agents").await);
    }
    answers
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

/// How many were let through; the others were told to come again.
fn let_through(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status != 200).for_each(|answer| {
        answer.assert_problem(429, "rate_limited");
    });
    answers.iter().filter(|answer| answer.status == 200).count()
}
