//! Who gets a run.

use std::collections::HashSet;
use std::time::Duration;

use cairn::ids::TenantId;
use cairn::jobs::{self, Chore, Claim, Claimer, Kind, RunState, Standing};
use futures_util::future::join_all;
use serde_json::json;

use super::{claim, claimer, enqueue, new_job, runs, sql};
use crate::harness::TestApp;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_given_to_one_worker_however_many_want_it() {
    let app = TestApp::start().await;
    let mut asked_for = HashSet::new();
    for _ in 0..10 {
        let tenant = app.new_tenant().await.id;
        let job = new_job(&app, tenant, "* * * * *").await;
        asked_for.insert(enqueue(&app, tenant, job).await.uuid());
    }
    let workers: Vec<_> = (0..30).map(|_| claimer(LONG)).collect();
    let leases = join_all(workers.iter().map(|worker| claim(&app, worker))).await;
    let given: Vec<_> = leases.iter().flatten().map(|lease| lease.run().run_id.uuid()).collect();
    assert_eq!(given.len(), 10, "{given:?}");
    assert_eq!(given.into_iter().collect::<HashSet<_>>(), asked_for);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_has_one_run_under_way_at_a_time_the_oldest_first() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await.id;
    let job = new_job(&app, tenant, "* * * * *").await;
    let asked_for = [enqueue(&app, tenant, job).await, enqueue(&app, tenant, job).await];
    for run in asked_for {
        let workers: Vec<_> = (0..8).map(|_| claimer(LONG)).collect();
        let leases = join_all(workers.iter().map(|worker| claim(&app, worker))).await;
        let leases: Vec<_> = leases.into_iter().flatten().collect();
        assert_eq!(leases.iter().map(|lease| lease.run().run_id).collect::<Vec<_>>(), [run]);
        assert!(leases[0].finish(&json!({})).await.expect("finishes"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_one_worker_at_a_time() {
    let app = TestApp::start().await;
    let (busy, late) = (app.new_tenant().await.id, app.new_tenant().await.id);
    for tenant in [busy, busy, late] {
        let job = new_job(&app, tenant, "* * * * *").await;
        enqueue(&app, tenant, job).await;
    }
    let first = claim(&app, &claimer(LONG)).await.expect("a run");
    let second = claim(&app, &claimer(LONG)).await.expect("a run");
    assert_eq!([first.tenant(), second.tenant()], [busy, late]);
    assert!(claim(&app, &claimer(LONG)).await.is_none(), "its other job waits for the first");
    assert!(first.finish(&json!({})).await.expect("finishes"));
    assert_eq!(claim(&app, &claimer(LONG)).await.expect("a run").tenant(), busy);
}

#[tokio::test(flavor = "multi_thread")]
async fn chores_have_no_second_worker_while_a_tenant_waits() {
    let app = TestApp::start().await;
    jobs::ensure_chores(app.db()).await.expect("jobs");
    for chore in [Chore::PurgeRuns, Chore::PurgeMemories] {
        enqueue(&app, TenantId::OPERATOR, chore.id()).await;
    }
    let tenant = app.new_tenant().await.id;
    let job = new_job(&app, tenant, "* * * * *").await;
    enqueue(&app, tenant, job).await;
    let claimer = Claimer { kinds: Kind::all().collect(), ..claimer(LONG) };
    let mut given = Vec::new();
    for _ in 0..3 {
        given.push(claim(&app, &claimer).await.expect("a run").tenant());
    }
    assert_eq!(given, [TenantId::OPERATOR, tenant, TenantId::OPERATOR]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenant_has_no_worker() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await.id;
    let job = new_job(&app, tenant, "* * * * *").await;
    enqueue(&app, tenant, job).await;
    sql(&app, "UPDATE tenants SET status = 'suspended' WHERE name <> ''").await;
    assert!(claim(&app, &claimer(LONG)).await.is_none());
    sql(&app, "UPDATE tenants SET status = 'active'").await;
    assert!(claim(&app, &claimer(LONG)).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_worker_is_lost_goes_on_where_it_was() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await.id;
    let job = new_job(&app, tenant, "* * * * *").await;
    enqueue(&app, tenant, job).await;
    let lost = claim(&app, &claimer(SHORT)).await.expect("the run");
    lost.note(json!({"after": 3}));
    assert_eq!(lost.heartbeat().await.expect("renews"), Standing::Held);
    assert!(claim(&app, &claimer(SHORT)).await.is_none(), "a lease that was renewed has not ended");
    tokio::time::sleep(SHORT).await;
    let next = claim(&app, &claimer(LONG)).await.expect("the run");
    assert_eq!((next.run().attempt, next.run().progress.clone()), (2, Some(json!({"after": 3}))));
    assert_eq!(lost.heartbeat().await.expect("answers"), Standing::Lost);
    assert!(!lost.finish(&json!({"of": "the lost"})).await.expect("answers"));
    assert!(!lost.fail("lost").await.expect("answers"));
    assert!(!lost.hand_back().await.expect("answers"));
    assert!(next.finish(&json!({"of": "the next"})).await.expect("finishes"));
    let run = runs(&app, tenant, job).await.pop().expect("a run");
    assert_eq!((run.state, run.report), (RunState::Succeeded, Some(json!({"of": "the next"}))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_loses_its_workers_is_given_up() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await.id;
    let job = new_job(&app, tenant, "* * * * *").await;
    enqueue(&app, tenant, job).await;
    for attempt in 1..=5 {
        assert_eq!(claim(&app, &claimer(SHORT)).await.expect("the run").run().attempt, attempt);
        tokio::time::sleep(SHORT).await;
    }
    let ended = jobs::claim(app.db(), &claimer(SHORT)).await.expect("claims");
    assert!(matches!(ended, Claim::Ended { state: RunState::Failed, .. }));
    let run = runs(&app, tenant, job).await.pop().expect("a run");
    assert_eq!((run.state, run.error.as_deref()), (RunState::Failed, Some("lost its worker 5 times")));
    assert!(claim(&app, &claimer(SHORT)).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn handing_a_run_back_is_no_attempt_that_failed() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await.id;
    let job = new_job(&app, tenant, "* * * * *").await;
    enqueue(&app, tenant, job).await;
    for restart in 0..8 {
        let lease = claim(&app, &claimer(LONG)).await.expect("the run");
        assert_eq!(lease.run().attempt, 1);
        assert_eq!(lease.run().progress, (restart > 0).then(|| json!(restart)));
        lease.note(json!(restart + 1));
        assert!(lease.hand_back().await.expect("hands back"));
        assert_eq!(lease.heartbeat().await.expect("answers"), Standing::Lost);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cancelled_is_not_begun_or_hears_of_it() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await.id;
    let job = new_job(&app, tenant, "* * * * *").await;
    let cancel = async |run| {
        let mut tx = app.db().write(tenant).await.expect("begins");
        let done = jobs::request_cancel(&mut tx, tenant, job, run).await.expect("cancels");
        tx.commit(&[]).await.expect("commits");
        done
    };
    let waits = enqueue(&app, tenant, job).await;
    assert!(cancel(waits).await);
    assert!(claim(&app, &claimer(LONG)).await.is_none());
    assert!(!cancel(waits).await, "it has ended");

    let runs_now = enqueue(&app, tenant, job).await;
    let lease = claim(&app, &claimer(LONG)).await.expect("the run");
    assert!(cancel(runs_now).await);
    assert_eq!(lease.heartbeat().await.expect("answers"), Standing::Cancelled);
    assert!(lease.cancel().await.expect("ends"));

    // One whose worker is lost is not begun again only to be cancelled.
    let lost = enqueue(&app, tenant, job).await;
    let lease = claim(&app, &claimer(SHORT)).await.expect("the run");
    assert!(cancel(lost).await);
    tokio::time::sleep(SHORT).await;
    let ended = jobs::claim(app.db(), &claimer(LONG)).await.expect("claims");
    assert!(matches!(ended, Claim::Ended { state: RunState::Cancelled, .. }));
    assert_eq!(lease.heartbeat().await.expect("answers"), Standing::Lost);
    let states: Vec<RunState> = runs(&app, tenant, job).await.iter().map(|run| run.state).collect();
    assert_eq!(states, [RunState::Cancelled; 3]);
}
