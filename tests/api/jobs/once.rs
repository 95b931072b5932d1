//! The promise of all this: a due time has one effect, although workers are lost, come back and race for it. The long
//! form with real processes is `make chaos`.

use std::time::{Duration, Instant};

use cairn::jobs::{self, Chore, Claim, Claimer, Kind};
use serde_json::json;
use time::OffsetDateTime;

use super::{chore_runs, sql, working};
use crate::harness::TestApp;

const CHORE: Chore = Chore::PurgeSigningKeys;
const SECONDS: i64 = 10;

/// Postgres keeps the book: every move of a run, by whomever.
const BOOK: &str = "
    CREATE TABLE moves (due_at timestamptz, moved_from text, moved_to text, attempt integer, at timestamptz);
    GRANT INSERT ON moves TO cairn_app, cairn_owner;
    CREATE FUNCTION keep_book() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN
             INSERT INTO cairn.moves VALUES (NEW.due_at, OLD.state, NEW.state, NEW.attempt, clock_timestamp());
             RETURN NULL;
         END';
    GRANT EXECUTE ON FUNCTION keep_book() TO cairn_app, cairn_owner;
    CREATE TRIGGER keep_book AFTER UPDATE ON job_runs FOR EACH ROW
           WHEN (NEW.job_id = '6a6f6273-0000-8000-8000-000000000005'
                 AND (OLD.state <> NEW.state OR OLD.attempt <> NEW.attempt)) EXECUTE FUNCTION keep_book()";

/// A worker that claims, is not heard of, and comes back when its run is another's.
async fn frozen(app: &TestApp) -> u32 {
    let kinds = vec![Kind::Chore(CHORE)];
    let claimer = Claimer { worker: cairn::ids::WorkerId::random(), kinds, lease: Duration::from_secs(1) };
    let mut froze = 0;
    let began = Instant::now();
    // Which worker gets a run is chance: it goes on until it had some.
    while began.elapsed() < Duration::from_secs(SECONDS as u64 + 1) || froze < 2 {
        assert!(began.elapsed() < Duration::from_secs(60), "the frozen got {froze} runs");
        tokio::time::sleep(Duration::from_millis(25)).await;
        let (Claim::Run(lease) | Claim::TakenOver(lease)) = jobs::claim(app.db(), &claimer).await.expect("claims")
        else {
            continue;
        };
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        assert!(!lease.finish(&json!({"by": "the frozen"})).await.expect("answers"), "it ended the run of another");
        froze += 1;
    }
    froze
}

#[tokio::test(flavor = "multi_thread")]
async fn each_due_time_has_one_effect_although_workers_are_lost_and_come_back() {
    let app = TestApp::start().await;
    jobs::ensure_chores(app.db()).await.expect("jobs");
    sql(&app, BOOK).await;
    let mut instances = Vec::new();
    for _ in 0..5 {
        instances.push(app.sibling_with(working).await);
    }
    let began = "UPDATE jobs SET cron = '* * * * * *', next_due = date_trunc('second', now()) + interval '1 second'
                  WHERE kind = 'purge_signing_keys'";
    sql(&app, began).await;
    let frozen = frozen(&app);
    let restarts = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(SECONDS as u64 / 4)).await;
            instances.remove(0).app.close().await;
            instances.push(app.sibling_with(working).await);
        }
    };
    let (froze, ()) = tokio::join!(frozen, restarts);
    sql(&app, "UPDATE jobs SET enabled = false, next_due = NULL").await;
    drained(&app).await;
    check(&app, froze).await;
}

/// Waits until every run that was due has ended.
async fn drained(app: &TestApp) {
    for _ in 0..200 {
        if chore_runs(app, CHORE).await.iter().all(|run| run.state.is_final()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{:?}", chore_runs(app, CHORE).await);
}

async fn check(app: &TestApp, froze: u32) {
    let effects: Vec<(OffsetDateTime, i64, f64)> = sqlx::query_as(
        "SELECT due_at, count(*), max(extract(epoch FROM at - due_at))::float8
           FROM moves WHERE moved_from = 'running' AND moved_to <> 'queued' AND moved_to <> 'running'
          GROUP BY due_at ORDER BY due_at",
    )
    .fetch_all(&mut app.database.superuser().await)
    .await
    .expect("the book");
    let runs = chore_runs(app, CHORE).await;
    assert_eq!(effects.len(), runs.len(), "a due time without an effect");
    assert!(effects.len() as i64 >= SECONDS, "{effects:?}");
    assert!(effects.iter().all(|(_, times, _)| *times == 1), "a due time with two effects: {effects:?}");
    let seconds = effects.windows(2).all(|pair| pair[1].0 - pair[0].0 == time::Duration::SECOND);
    assert!(seconds, "a due time is missing: {effects:?}");
    let latest = effects.iter().map(|(_, _, late)| *late).fold(0.0, f64::max);
    assert!(latest < 3.0 + 5.0, "late by {latest}");
    let taken_over = runs.iter().filter(|run| run.attempt > 1).count();
    assert!(taken_over as u32 >= froze, "{taken_over} were taken over");
}
