//! Who is just over its limit is refused before anything is looked up.

use std::time::Duration;

use serde_json::json;

use crate::harness::TestApp;
use crate::harness::proxy::Proxy;
use crate::limits::{limited, send};

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_over_its_limit_does_not_reach_the_database() {
    let app = TestApp::start().await;
    let proxy = Proxy::start(app.database.cluster.socket()).await;
    let there = app.sibling_through(proxy.options(&app.database.name), |config| config.usage.enabled = false).await;
    let tenant = limited(&app, json!({"requests_per_second": 1})).await;
    let client = tenant.at(there.url());
    let answers = send(&client, 5).await;
    assert_eq!(answers[4].status, 429, "{}", answers[4].text);
    proxy.allow(0);
    for answer in send(&client, 20).await {
        answer.assert_problem(429, "rate_limited");
        assert_eq!(answer.header("ratelimit-policy"), "\"tenant-requests\";q=1;w=1");
    }
    assert!(!proxy.holds(), "nothing was asked of it");
    proxy.release();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_is_revoked_during_a_flood_is_told_so_within_a_second() {
    let app = TestApp::start().await;
    let tenant = limited(&app, json!({"requests_per_second": 1})).await;
    let other = app.client(tenant.id, "all", None).await;
    let key = app.issue(tenant.id, "memories:read", None).await;
    let flooding = other.with_key(&key);
    send(&flooding, 10).await;
    let id = key.split('_').nth(2).expect("the id of the key").to_owned();
    let mut database = app.database.superuser().await;
    let revoke = sqlx::query("UPDATE api_keys SET revoked_at = now() WHERE key_id = $1::uuid");
    assert_eq!(revoke.bind(id).execute(&mut database).await.expect("revoked").rows_affected(), 1);
    for answer in send(&flooding, 10).await {
        assert!([401, 429].contains(&answer.status), "{}", answer.text);
    }
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    for answer in send(&flooding, 10).await {
        answer.assert_problem(401, "unauthenticated");
    }
}
