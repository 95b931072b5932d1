//! Requests a second.

use std::time::Duration;

use serde_json::json;

use crate::harness::TestApp;
use crate::limits::{let_through, limited, send, set_quotas, statuses};

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_too_much_is_told_which_limit_it_is_and_when_to_come_again() {
    let app = TestApp::start().await;
    let tenant = limited(&app, json!({"requests_per_second": 2})).await;
    let first = tenant.get("/v1/agents").await;
    first.expect(200);
    assert_eq!(first.header("ratelimit-policy"), "\"tenant-requests\";q=2;w=1");
    assert_eq!(first.header("ratelimit"), "\"tenant-requests\";r=1;t=1");
    let answers = send(&tenant, 20).await;
    let refused = answers.iter().find(|answer| answer.status != 200).expect("more than two in a second");
    let problem = refused.assert_problem(429, "rate_limited");
    assert_eq!(problem["detail"], "this tenant may make 2 requests a second; try again in 1 s");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.header("ratelimit-policy"), "\"tenant-requests\";q=2;w=1");
    assert_eq!(refused.header("ratelimit"), "\"tenant-requests\";r=0;t=1");
    tokio::time::sleep(Duration::from_secs(1)).await;
    tenant.get("/v1/agents").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_concerns_nobody_else_and_no_open_route() {
    let app = TestApp::start().await;
    let (tenant, other) = (limited(&app, json!({"requests_per_second": 1})).await, app.new_tenant().await);
    assert!(let_through(&send(&tenant, 20).await) < 20);
    assert_eq!(let_through(&send(&other, 20).await), 20);
    let unlimited = other.get("/v1/agents").await;
    assert_eq!((unlimited.header("ratelimit"), unlimited.header("ratelimit-policy")), ("", ""));
    for _ in 0..20 {
        assert_eq!(tenant.get("/livez").await.status, 200);
        tenant.with_key("not a key").get("/v1/agents").await.assert_problem(401, "unauthenticated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_three_seconds_the_rate_is_kept() {
    let app = TestApp::start().await;
    let rate = 20.0;
    let tenant = limited(&app, json!({"requests_per_second": rate as u64})).await;
    let begin = std::time::Instant::now();
    let mut admitted = 0;
    while begin.elapsed() < Duration::from_secs(3) {
        admitted += let_through(&send(&tenant, 5).await);
    }
    // A second's worth at once, and then as much every second.
    let (admitted, steady) = (f64::from(admitted as u32), rate * begin.elapsed().as_secs_f64());
    assert!(admitted <= steady + rate + 1.0, "{admitted} against {steady}");
    assert!(admitted >= 0.9 * steady, "{admitted} against {steady}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_comes_into_force_and_goes_with_the_next_requests() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    assert_eq!(let_through(&send(&tenant, 30).await), 30);
    set_quotas(&app, &tenant, json!({"requests_per_second": 1})).await;
    assert!(let_through(&send(&tenant, 30).await) < 10);
    set_quotas(&app, &tenant, json!({"requests_per_second": null})).await;
    // Who was just refused is refused again without a look, for a second at most.
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert_eq!(let_through(&send(&tenant, 30).await), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_without_quotas_has_what_the_server_is_configured_for() {
    let app = TestApp::start_with(|config| config.rates.tenant_requests_per_second = 1).await;
    let (plain, own) = (app.new_tenant().await, app.new_tenant().await);
    set_quotas(&app, &own, json!({"requests_per_second": 1_000})).await;
    assert!(let_through(&send(&plain, 20).await) < 20);
    assert_eq!(let_through(&send(&own, 20).await), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_principal_has_a_limit_of_its_own() {
    let app = TestApp::start_with(|config| config.rates.principal_requests_per_second = 2).await;
    let tenant = limited(&app, json!({"requests_per_second": 1_000})).await;
    let other = app.client(tenant.id, "all", None).await;
    let answers = send(&tenant, 20).await;
    assert!(let_through(&answers) < 20);
    let refused = answers.iter().find(|answer| answer.status == 429).expect("one too many");
    assert_eq!(refused.json()["detail"], "this credential may make 2 requests a second; try again in 1 s");
    let policies = "\"principal-requests\";q=2;w=1, \"tenant-requests\";q=1000;w=1";
    assert_eq!(refused.header("ratelimit-policy"), policies);
    assert_eq!(statuses(&send(&other, 1).await), [200]);
}
