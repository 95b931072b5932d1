//! Server and Postgres are killed without a word while callers write: whatever was acknowledged is
//! there afterwards, and nothing that nobody asked for. `make chaos` is the long form.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::RngExt;
use serde_json::json;

use crate::site::{Server, Site, block_on, signal, wait_until};

const WRITERS: usize = 4;

/// What the callers know: where to ask, what they asked for, and what they were promised.
struct Load {
    url: Mutex<String>,
    over: AtomicBool,
    tried: Mutex<HashSet<String>>,
    acknowledged: Mutex<Vec<String>>,
    /// When the youngest acknowledged request was sent.
    last: Mutex<Instant>,
}

impl Load {
    fn new(url: String) -> Self {
        Self {
            url: Mutex::new(url),
            over: AtomicBool::new(false),
            tried: Mutex::default(),
            acknowledged: Mutex::default(),
            last: Mutex::new(Instant::now()),
        }
    }

    /// Writes one new content after the other and repeats none: an unknown outcome stays unknown.
    async fn write(&self, writer: usize, key: &str) {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().expect("a client");
        for number in 0.. {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let content = format!("Stone {number} of writer {writer} lies in the garden.");
            self.tried.lock().expect("no panic").insert(content.clone());
            let url = format!("{}/v1/agents/writer-{writer}/remember", self.url.lock().expect("no panic"));
            let sent = Instant::now();
            let answer = client.post(url).bearer_auth(key).json(&json!({"content": content})).send().await;
            match answer.map(|answer| answer.status().as_u16()) {
                Ok(201) => {
                    self.acknowledged.lock().expect("no panic").push(content);
                    let mut last = self.last.lock().expect("no panic");
                    *last = sent.max(*last);
                }
                Ok(503) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                // The gate gives up a connection that died in its hands.
                Ok(other) => assert_eq!(other, 504, "{content}"),
            }
        }
    }
}

/// Everything that the writers' agents remember.
fn stored(server: &Server<'_>, key: &str) -> HashSet<String> {
    let mut contents = HashSet::new();
    for writer in 0..WRITERS {
        let list = format!("/v1/agents/writer-{writer}/memories?limit=200");
        let mut path = list.clone();
        loop {
            let (status, page) = server.get_json(key, &path);
            assert_eq!(status, 200, "{page}");
            for item in page["items"].as_array().expect("items") {
                assert!(contents.insert(item["content"].as_str().expect("content").to_owned()), "twice: {item}");
            }
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("{list}&cursor={cursor}");
        }
    }
    contents
}

fn survives(kills: usize) {
    let site = Site::new();
    let mut server = site.serve();
    let key = site.dev_key();
    let load = Load::new(server.url().to_owned());
    let mut recoveries: Vec<Duration> = Vec::new();
    scope(|threads| {
        for writer in 0..WRITERS {
            let (load, key) = (&load, &key);
            threads.spawn(move || block_on(load.write(writer, key)));
        }
        for kill in 0..kills {
            sleep(Duration::from_millis(rand::rng().random_range(100..900)));
            let killed = Instant::now();
            match kill % 3 {
                // The server starts it again.
                0 => signal(site.postmaster(), Signal::SIGKILL),
                both => {
                    server.kill();
                    if both == 2 {
                        site.kill_processes();
                    }
                    server = site.serve();
                    *load.url.lock().expect("no panic") = server.url().to_owned();
                }
            }
            wait_until("a write is acknowledged again", || *load.last.lock().expect("no panic") > killed);
            recoveries.push(killed.elapsed());
        }
        load.over.store(true, Ordering::Relaxed);
    });
    let (tried, acknowledged) =
        (load.tried.into_inner().expect("no panic"), load.acknowledged.into_inner().expect("no panic"));
    let stored = stored(&server, &key);
    let lost: Vec<&String> = acknowledged.iter().filter(|content| !stored.contains(*content)).collect();
    let unasked: Vec<&String> = stored.difference(&tried).collect();
    recoveries.sort();
    let at = |percent: usize| recoveries[(recoveries.len() - 1) * percent / 100];
    println!(
        "{kills} kills, {} writes asked for, {} acknowledged, {} lost, {} unasked; recovery: median {:.1?}, longest {:.1?}",
        tried.len(),
        acknowledged.len(),
        lost.len(),
        unasked.len(),
        at(50),
        at(100)
    );
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert!(unasked.is_empty(), "stored and never asked for: {unasked:?}");
    assert!(acknowledged.len() >= kills, "there was load: {}", acknowledged.len());
    server.stop();
}

#[test]
fn no_acknowledged_write_is_lost_to_kill_9() {
    survives(6);
}

#[test]
#[ignore = "minutes; `make chaos`"]
fn no_acknowledged_write_is_lost_to_a_hundred_kills() {
    let kills = std::env::var("CAIRN_CHAOS_KILLS").ok().map_or(100, |kills| kills.parse().expect("a number"));
    survives(kills);
}
