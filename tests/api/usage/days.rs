//! Hours, days, and what a tenant sees of them.

use cairn::usage::{purge, roll_up};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::{ask_often, run};
use crate::harness::{Tenant, TestApp};

/// Minutes of a tenant that recalled once a minute, from so many hours ago up to now.
async fn past(app: &TestApp, tenant: &Tenant, agent: &str, hours: i64) {
    let id = tenant.id;
    run(
        app,
        &format!(
            "INSERT INTO usage_agents (tenant_id, grain, at, agent_uid, recalls, hits)
             SELECT '{id}', 'minute', minute, agent_uid, 2, 1
               FROM generate_series(date_trunc('minute', now()) - interval '{hours} hours', now(), '1 minute') minute,
                    agents
              WHERE agents.tenant_id = '{id}' AND agent_id = '{agent}';
             INSERT INTO usage_layers (tenant_id, grain, at, kind, layer, hits, misses, stale, evictions, expirations, errors)
             SELECT '{id}', 'minute', minute, 'recall', 'local', 3, 1, 0, 0, 0, 0
               FROM generate_series(date_trunc('minute', now()) - interval '{hours} hours', now(), '1 minute') minute"
        ),
    )
    .await;
}

/// Rows of a grain, as text, in order.
async fn rows(app: &TestApp, grain: &str) -> Vec<String> {
    let mut superuser = app.database.superuser().await;
    let mut rows = Vec::new();
    for table in ["usage_agents", "usage_layers"] {
        let sql = format!("SELECT '{table}' || t::text FROM {table} t WHERE grain = '{grain}' ORDER BY at, 1");
        rows.extend(sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).fetch_all(&mut superuser).await.expect("rows"));
    }
    rows
}

async fn recalls(tenant: &Tenant) -> i64 {
    tenant.get("/v1/agents/ada/stats").await.expect(200)["recalls"].as_i64().expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_up_changes_no_sum_and_done_again_makes_the_same() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is in the kitchen.").await;
    past(&app, &tenant, "ada", 75).await;
    let before = recalls(&tenant).await;
    assert_eq!(before, 2 * (75 * 60 + 1));
    let rolled = roll_up(app.db()).await.expect("rolls up");
    assert!(rolled.hours >= 2 * 74 && rolled.days >= 2 * 2 && rolled.counted >= 1, "{rolled:?}");
    assert_eq!(recalls(&tenant).await, before);
    let made = (rows(&app, "hour").await, rows(&app, "day").await);

    // Twice at once, and after some were lost.
    let lost = "DELETE FROM usage_agents WHERE grain = 'day' AND at > now() - interval '49 hours';
                DELETE FROM usage_layers WHERE grain IN ('hour', 'day')";
    run(&app, lost).await;
    let (one, two) = tokio::join!(roll_up(app.db()), roll_up(app.db()));
    assert_eq!(one.and(two).expect("rolls up").counted, 0, "yesterday is counted once");
    assert_eq!((rows(&app, "hour").await, rows(&app, "day").await), made);
    assert_eq!(recalls(&tenant).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_go_once_nobody_can_ask_for_them_and_sums_stay() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is in the kitchen.").await;
    past(&app, &tenant, "ada", 200).await;
    roll_up(app.db()).await.expect("rolls up");
    let before = recalls(&tenant).await;
    let deleted = purge(app.db()).await.expect("purges");
    assert!((2 * 8 * 60 - 4..=2 * 8 * 60 + 4).contains(&deleted), "{deleted} rows of eight hours");
    assert_eq!(recalls(&tenant).await, before);
    assert_eq!(purge(app.db()).await.expect("purges"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_sees_what_it_used_day_by_day() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is in the kitchen.").await;
    roll_up(app.db()).await.expect("counts yesterday");
    let busy = app.sibling().await;
    ask_often(&tenant.at(busy.url()), "ada", "where is the kettle", 3).await;
    busy.app.close().await;
    let usage = tenant.get("/v1/tenant").await.expect(200)["usage"].clone();
    assert_eq!((&usage["memories"], &usage["bytes"], &usage["agents"]), (&json!(1), &json!(29), &json!(1)));
    let days = usage["by_day"].as_array().expect("days");
    assert_eq!(days.len(), 30);
    let shown = |day: &Value| ["memories", "bytes", "recalls", "hits"].map(|name| day[name].clone());
    assert_eq!(shown(&days[28]), [json!(1), json!(29), json!(0), json!(0)], "{days:?}");
    assert_eq!(shown(&days[29]), [Value::Null, Value::Null, json!(3), json!(2)], "{days:?}");
    // The question; the memory was embedded by another instance, which has not written yet.
    assert_eq!(days[29]["embedding_tokens"], 5, "{days:?}");
    assert!(days[27]["memories"].is_null() && days[0]["recalls"] == 0, "{days:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memories_of_a_huge_tenant_are_not_counted_while_it_waits() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is in the kitchen.").await;
    let id = tenant.id;
    let huge = format!(
        "INSERT INTO usage_days (tenant_id, day, agents, memories, bytes)
         VALUES ('{id}', current_date - 1, 7, 3000000, 900000000)"
    );
    run(&app, &huge).await;
    let usage = tenant.get("/v1/tenant").await.expect(200)["usage"].clone();
    assert_eq!((&usage["memories"], &usage["agents"]), (&json!(3_000_000), &json!(7)));
    // With a quota its writers keep the totals.
    run(&app, &format!("INSERT INTO tenant_totals (tenant_id, memories, bytes) VALUES ('{id}', 4, 5)")).await;
    let usage = tenant.get("/v1/tenant").await.expect(200)["usage"].clone();
    assert_eq!(usage["memories"], 4);
}
