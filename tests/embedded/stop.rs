//! Stopping: what was asked is answered, what was written stays, nothing goes on running.

use std::fs;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection, Executor};
use tokio::runtime::Runtime;

use crate::site::{Server, Site, block_on, signal, wait_until};

/// A place where statements may wait longer than they usually do.
fn patient() -> Site {
    let mut site = Site::new();
    site.set("CAIRN_DATABASE__READ_TIMEOUT_MS", "20000");
    site.set("CAIRN_HTTP__DRAIN_SECS", "20");
    site
}

/// Keeps everybody from the memories until it is let go.
struct Lock {
    runtime: Runtime,
    holder: PgConnection,
}

impl Lock {
    fn memories(site: &Site) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let holder = runtime.block_on(async {
            let mut holder = site.database().connect().await.expect("connects");
            holder.execute("BEGIN; LOCK TABLE cairn.memories IN ACCESS EXCLUSIVE MODE").await.expect("the lock");
            holder
        });
        Self { runtime, holder }
    }

    fn let_go(self) {
        self.runtime.block_on(self.holder.close()).expect("closes");
    }
}

/// Until a session of the server waits for the lock.
fn until_somebody_waits(site: &Site) {
    wait_until("a statement waits for the lock", || {
        block_on(async {
            let mut watcher = site.database().connect().await.expect("connects");
            let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_locks WHERE NOT granted")
                .fetch_one(&mut watcher)
                .await
                .expect("counts");
            watcher.close().await.expect("closes");
            waiting > 0
        })
    });
}

fn until_it_stops(server: &Server<'_>) {
    wait_until("the server has heard", || server.log().contains("\"stopping\""));
}

#[test]
fn a_slow_recall_is_answered_after_sigterm() {
    let site = patient();
    let mut server = site.serve();
    let key = site.dev_key();
    assert_eq!(server.remember(&key, "The kettle is broken."), 201);
    let lock = Lock::memories(&site);
    scope(|threads| {
        let recall = threads.spawn(|| server.recalls(&key, "The kettle is broken."));
        until_somebody_waits(&site);
        signal(server.id(), Signal::SIGTERM);
        until_it_stops(&server);
        sleep(Duration::from_millis(1500));
        lock.let_go();
        assert!(recall.join().expect("the caller"), "it was answered");
    });
    server.ends(0);
}

#[test]
fn readiness_turns_first_and_every_answer_lets_go_of_its_connection() {
    let mut site = Site::new();
    site.set("CAIRN_HTTP__STOP_DELAY_SECS", "4");
    let mut server = site.serve();
    let key = site.dev_key();
    assert_eq!(server.remember(&key, "The kettle is broken."), 201);
    assert_eq!(server.get("/readyz").0, 200);
    signal(server.id(), Signal::SIGTERM);
    until_it_stops(&server);

    let (status, readiness, connection) = server.get("/readyz");
    assert_eq!((status, connection), (503, Some(HeaderValue::from_static("close"))));
    let readiness: Value = serde_json::from_str(&readiness).expect("JSON");
    assert_eq!((&readiness["ready"], &readiness["server"]["ok"]), (&json!(false), &json!(false)), "{readiness}");
    assert_eq!(readiness["database"]["ok"], true, "{readiness}");
    assert_eq!(server.get("/livez").0, 200);
    assert!(server.recalls(&key, "The kettle is broken."), "it goes on serving until the balancer has seen it");
    server.ends(0);
}

#[test]
fn a_second_signal_ends_it_at_once_and_leaves_nothing_running() {
    for (second, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let mut site = patient();
        site.set("CAIRN_HTTP__STOP_DELAY_SECS", "600");
        let mut server = site.serve();
        let key = site.dev_key();
        assert_eq!(server.remember(&key, "The kettle is broken."), 201);
        let lock = Lock::memories(&site);
        scope(|threads| {
            let recall = threads.spawn(|| server.recalls(&key, "The kettle is broken."));
            until_somebody_waits(&site);
            signal(server.id(), Signal::SIGTERM);
            until_it_stops(&server);
            signal(server.id(), second);
            assert!(!recall.join().expect("the caller"), "it was cut off");
        });
        drop(lock);
        server.ends(code);
        let mut next = site.serve();
        assert!(next.recalls(&key, "The kettle is broken."));
        signal(next.id(), Signal::SIGINT);
        // Nobody who presses Ctrl-C waits for a balancer.
        next.ends(0);
    }
}

#[test]
fn a_write_that_outlasts_its_caller_and_the_drain_is_committed_before_the_end() {
    let mut site = patient();
    site.set("CAIRN_HTTP__DRAIN_SECS", "1");
    let mut server = site.serve();
    let key = site.dev_key();
    assert_eq!(server.remember(&key, "The kettle is broken."), 201);
    let lock = Lock::memories(&site);
    assert!(server.hangs_up(Duration::from_millis(200), &key, "The door is green."));
    until_somebody_waits(&site);
    signal(server.id(), Signal::SIGTERM);
    until_it_stops(&server);
    // Longer than the drain, shorter than a write waits for a lock.
    sleep(Duration::from_millis(2200));
    lock.let_go();
    server.ends(0);
    let next = site.serve();
    assert_eq!(next.remember(&key, "The door is green."), 200, "it is there already");
    next.stop();
}

#[test]
fn a_postgres_that_is_killed_is_started_again() {
    let site = Site::new();
    let server = site.serve();
    let key = site.dev_key();
    assert_eq!(server.remember(&key, "The kettle is broken."), 201);
    for _ in 0..3 {
        let killed = site.postmaster();
        signal(killed, Signal::SIGKILL);
        let started = Instant::now();
        wait_until("it recalls again", || server.recalls(&key, "The kettle is broken."));
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
        assert_ne!(site.postmaster(), killed);
        assert_eq!(server.get("/readyz").0, 200);
    }
    assert!(server.log().contains("ended without being asked"), "{}", server.log());
    server.stop();
}

#[test]
fn a_server_that_waits_for_a_killed_postgres_is_not_ready_and_can_be_stopped() {
    let site = Site::new();
    let server = site.serve();
    let binary = site.data.join("postgres/data/PG_VERSION");
    let kept = fs::read(&binary).expect("a version");
    fs::write(&binary, "9\n").expect("a version it cannot read");
    signal(site.postmaster(), Signal::SIGKILL);
    wait_until("readiness turns", || server.get("/readyz").0 == 503);
    assert_eq!(server.get("/livez").0, 200);
    wait_until("it has tried again", || server.log().matches("trying again").count() > 1);
    fs::write(&binary, kept).expect("its version");
    wait_until("readiness returns", || server.get("/readyz").0 == 200);
    server.stop();
}
