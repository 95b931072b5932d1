//! Quotas of calls, as the operator sets them and as the tenant sees them.

use cairn::ids::TenantId;
use serde_json::json;

use crate::harness::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sets_quotas_of_calls_and_a_tenant_sees_what_is_in_force() {
    let app = TestApp::start_with(|config| {
        config.rates.tenant_concurrent_requests = 64;
        config.rates.principal_requests_per_second = 500;
    })
    .await;
    let operator = app.client(TenantId::OPERATOR, "platform", None).await;
    let quotas = json!({"requests_per_second": 1_000, "embedding_tokens_per_minute": 60_000});
    let body = json!({"name": "acme", "quotas": quotas});
    let created = operator.post("/v1/platform/tenants", body).await.expect(201);
    let stored = json!({
        "memories": null, "bytes": null,
        "requests_per_second": 1_000, "concurrent_requests": null, "embedding_tokens_per_minute": 60_000,
    });
    assert_eq!(created["tenant"]["quotas"], stored);
    let listed = operator.get("/v1/platform/tenants").await.expect(200);
    assert_eq!(listed["items"][0]["quotas"], stored);

    let tenant = operator.with_key(created["api_key"].as_str().expect("a key"));
    let own = tenant.get("/v1/tenant").await.expect(200);
    let in_force =
        json!({"requests_per_second": 1_000, "concurrent_requests": 64, "embedding_tokens_per_minute": 60_000});
    let of_principal =
        json!({"requests_per_second": 500, "concurrent_requests": null, "embedding_tokens_per_minute": null});
    assert_eq!(own["rates"], json!({"tenant": in_force, "principal": of_principal}));

    let path = format!("/v1/platform/tenants/{}", created["tenant"]["id"].as_str().expect("an id"));
    let patched = operator.patch(&path, json!({"quotas": {"requests_per_second": null, "memories": 3}})).await;
    let patched = &patched.expect(200)["tenant"]["quotas"];
    assert_eq!((&patched["requests_per_second"], &patched["memories"]), (&json!(null), &json!(3)));
    assert_eq!(patched["embedding_tokens_per_minute"], 60_000, "what is not named stays");
    for wrong in [json!(0), json!(-1), json!(1_000_000_001)] {
        let patch = json!({"quotas": {"requests_per_second": wrong}});
        operator.patch(&path, patch).await.assert_problem(422, "out_of_range");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_over_its_storage_is_refused_as_over_a_quota_and_not_as_too_fast() {
    let app = TestApp::start().await;
    let tenant = super::limited(&app, json!({"memories": 1, "requests_per_second": 1_000})).await;
    tenant.remember("ada", "The kettle is broken.").await;
    let refused = tenant.post("/v1/agents/ada/remember", json!({"content": "The lamp is new."})).await;
    refused.assert_problem(429, "quota_exceeded");
    assert_eq!(refused.header("retry-after"), "", "trying again does not help");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_limit_keeps_the_operator_out() {
    let app = TestApp::start_with(|config| {
        config.rates.tenant_requests_per_second = 1;
        config.rates.principal_requests_per_second = 1;
    })
    .await;
    let operator = app.client(TenantId::OPERATOR, "platform", None).await;
    for _ in 0..20 {
        operator.get("/v1/platform/tenants").await.expect(200);
    }
}
