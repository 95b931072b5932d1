//! What each chore removes, and what it must leave.

use std::time::Duration;

use cairn::jobs::{self, Chore, RunState};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{count, run_chore, sql, working};
use crate::circles::circle_of;
use crate::harness::TestApp;

async fn stage() -> TestApp {
    let app = TestApp::start_with(working).await;
    jobs::ensure_chores(app.db()).await.expect("jobs");
    app
}

async fn removed(app: &TestApp, chore: Chore) -> u64 {
    let run = run_chore(app, chore).await;
    assert_eq!(run.state, RunState::Succeeded, "{run:?}");
    run.report.expect("a report")["removed"].as_u64().expect("a count")
}

async fn counted(app: &TestApp, sql: &str) -> i64 {
    count(&mut app.database.superuser().await, sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_forgotten_everywhere_and_every_scope_gets_a_new_stamp() {
    let app = stage().await;
    let tenants = [app.new_tenant().await, app.new_tenant().await];
    let soon = (OffsetDateTime::now_utc() + time::Duration::seconds(2)).format(&Rfc3339).expect("a time");
    for tenant in &tenants {
        circle_of(tenant, "kitchen", &[("ada", "owner")]).await;
        for (content, expires_at) in [("for a moment", json!(soon)), ("for ever", json!(null))] {
            let memory = json!({"content": content, "expires_at": expires_at, "circles": ["kitchen"]});
            tenant.remember_as("ada", memory).await;
        }
    }
    sql(&app, "INSERT INTO tenant_totals SELECT tenant_id, 2, 20 FROM tenants WHERE name <> ''").await;
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let tags = "SELECT count(DISTINCT tag) FROM scope_epochs e
                 WHERE EXISTS (SELECT FROM placements p WHERE p.scope_id = e.scope_id)";
    sql(&app, "CREATE TABLE before AS SELECT * FROM scope_epochs").await;
    assert_eq!(counted(&app, tags).await, 4, "of an agent and a circle in each tenant");
    assert_eq!(removed(&app, Chore::PurgeMemories).await, 2);
    for tenant in &tenants {
        assert_eq!(tenant.recalled("ada", json!({"query": "for"})).await, ["for ever"]);
        let list = tenant.get("/v1/circles/kitchen/memories").await.expect(200);
        assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    }
    let renewed = "SELECT count(*) FROM scope_epochs e JOIN before b USING (tenant_id, scope_id)
                    WHERE e.tag <> b.tag AND e.n = b.n + 1";
    assert_eq!(counted(&app, renewed).await, 4);
    assert_eq!(counted(&app, "SELECT count(*) FROM placement_terms").await, 4);
    assert_eq!(counted(&app, "SELECT count(*) FROM scope_removals").await, 4);
    assert_eq!(counted(&app, "SELECT count(*) FROM shares WHERE ended_at IS NULL").await, 2);
    assert_eq!(counted(&app, "SELECT count(*) FROM tenant_totals WHERE memories = 1 AND bytes = 8").await, 2);
    assert_eq!(removed(&app, Chore::PurgeMemories).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_of_removals_go_with_a_mark_where_they_begin() {
    let app = stage().await;
    let tenant = app.new_tenant().await;
    for content in ["one", "two", "three"] {
        let memory = tenant.remember("ada", content).await;
        let path = format!("/v1/memories/{}", memory["id"].as_str().expect("an id"));
        tenant.delete(&path).await.expect(204);
    }
    assert_eq!(removed(&app, Chore::PurgeRemovals).await, 0, "they are young");
    let age = "UPDATE scope_removals SET removed_at = now() - interval '25 hours'
                WHERE n < (SELECT max(n) FROM scope_removals);
               CREATE TABLE before AS SELECT * FROM scope_epochs";
    sql(&app, age).await;
    assert_eq!(removed(&app, Chore::PurgeRemovals).await, 2);
    let marked = "SELECT count(*) FROM scope_epochs e JOIN scope_removals r USING (tenant_id, scope_id)
                    JOIN before b USING (tenant_id, scope_id)
                   WHERE b.floor_n = 0 AND e.floor_n BETWEEN 1 AND r.n - 1 AND e.n = b.n AND e.tag = b.tag";
    assert_eq!(counted(&app, marked).await, 1, "what is left lies above the mark; no answer changes");
}

/// What is put there, how much of it goes, and what must be left.
struct Case {
    chore: Chore,
    given: &'static str,
    removed: u64,
    left: &'static str,
}

const CASES: [Case; 4] = [
    Case {
        chore: Chore::PurgeReceipts,
        given: "INSERT INTO idempotency_keys
                SELECT t.tenant_id, sha256(age::text::bytea), sha256(''), '1', now() - make_interval(hours => age)
                  FROM tenants t, unnest(ARRAY[0, 23, 25, 600]) age",
        removed: 6,
        left: "SELECT count(*) - 6 FROM idempotency_keys WHERE created_at > now() - interval '1 day'",
    },
    Case {
        chore: Chore::PurgeRuns,
        given: "INSERT INTO jobs SELECT tenant_id, tenant_id, 'warm_up', 'x', '* * * * *', 'UTC', false, '{}' FROM tenants
                 WHERE name <> '';
                INSERT INTO job_runs (tenant_id, job_id, due_at, run_id, cause, state, finished_at)
                SELECT tenant_id, job_id, now() - make_interval(days => age), gen_random_uuid(), 'schedule',
                       CASE WHEN age % 2 = 0 THEN 'queued' ELSE 'failed' END,
                       CASE WHEN age % 2 = 1 THEN now() - make_interval(days => age) END
                  FROM jobs, unnest(ARRAY[1, 29, 31, 401, 400]) age
                 WHERE kind = 'warm_up'",
        removed: 4,
        left: "SELECT count(*) - 6 FROM job_runs WHERE tenant_id <> 'ffffffff-ffff-ffff-ffff-ffffffffffff'",
    },
    Case {
        chore: Chore::PurgeSigningKeys,
        given: "INSERT INTO signing_keys (signing_key_id, public_key, sealed, retires_at)
                SELECT gen_random_uuid(), sha256(''), '', now() + make_interval(hours => h)
                  FROM unnest(ARRAY[-1000, -1, 1, NULL]) h",
        removed: 2,
        left: "SELECT count(*) - 2 FROM signing_keys WHERE retires_at IS NULL OR retires_at > now()",
    },
    Case {
        chore: Chore::PurgeCircleFigures,
        given: "INSERT INTO circles (tenant_id, circle_uid, circle_id, name, content_scope, board_scope)
                SELECT tenant_id, tenant_id, 'c', 'c', gen_random_uuid(), gen_random_uuid() FROM tenants WHERE name <> '';
                INSERT INTO circle_recalls
                SELECT tenant_id, content_scope, now() - make_interval(days => age), 1
                  FROM circles, unnest(ARRAY[0, 90, 92]) age;
                INSERT INTO circle_events
                SELECT tenant_id, circle_uid, gen_random_uuid(), 'x', now() - make_interval(days => age)
                  FROM circles, unnest(ARRAY[0, 90, 92, 200]) age",
        removed: 6,
        left: "SELECT (SELECT count(*) FROM circle_recalls) + (SELECT count(*) FROM circle_events) - 8",
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn what_has_outlived_its_time_goes_and_nothing_else() {
    let app = stage().await;
    let _tenants = [app.new_tenant().await, app.new_tenant().await];
    for case in CASES {
        sql(&app, case.given).await;
        assert_eq!(removed(&app, case.chore).await, case.removed, "{:?}", case.chore);
        assert_eq!(counted(&app, case.left).await, 0, "{:?}", case.chore);
        assert_eq!(removed(&app, case.chore).await, 0, "{:?} again", case.chore);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chore_takes_more_than_one_batch_and_more_than_one_page_of_tenants() {
    let app = stage().await;
    let tenant = super::expired(&app, 1_203).await;
    let many = "INSERT INTO tenants (tenant_id, name, scope_id, embedding_pin)
                SELECT gen_random_uuid(), 'tenant ' || n, gen_random_uuid(), '' FROM generate_series(1, 230) n;
                INSERT INTO idempotency_keys
                SELECT tenant_id, sha256(''), sha256(''), '1', now() - interval '2 days' FROM tenants";
    sql(&app, many).await;
    assert_eq!(removed(&app, Chore::PurgeMemories).await, 1_203);
    assert_eq!(counted(&app, &format!("SELECT count(*) FROM memories WHERE tenant_id = '{tenant}'")).await, 0);
    assert_eq!(removed(&app, Chore::PurgeReceipts).await, 232);
}
