//! Starts, stops and crashes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpgid};
use sqlx::{ConnectOptions, Executor};

use crate::site::{Running, Server, Site, block_on, is_root_or_skips, signal, wait_until};

const NOBODY: u32 = 65534;

/// The life of a data folder from its first start to its second end.
fn lives(site: &Site) {
    let first = site.serve();
    let key = site.dev_key();
    assert_eq!(first.stdout().matches(&key).count(), 1, "{}", first.stdout());
    assert_eq!(first.stdout().matches("cairn_").count(), 1, "{}", first.stdout());
    let mode = fs::metadata(site.data.join("dev-key")).expect("dev-key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(first.remember(&key, "The kettle is broken."), 201);
    assert!(first.recalls(&key, "The kettle is broken."));
    let tenants = site.done(&["tenant", "list"]);
    assert_eq!((tenants.matches("default").count(), tenants.lines().count()), (1, 2), "{tenants}");
    first.stop();

    let second = site.serve();
    assert_eq!(second.stdout(), "", "the key is printed once");
    assert_eq!(site.dev_key(), key);
    assert!(second.recalls(&key, "The kettle is broken."));
    let messages = second.stop();
    let hashed = "embeddings are hashed: recall knows words, not meaning; this is for tests";
    assert_eq!(messages, ["started Redis", "started Postgres", hashed, "serving", "request", "stopping"]);
}

#[test]
fn a_first_start_makes_a_tenant_and_a_key_and_a_second_finds_everything_there() {
    lives(&Site::new());
}

#[test]
fn an_ordinary_user_is_served_as_root_is() {
    if is_root_or_skips() {
        lives(&Site::of_user(NOBODY));
    }
}

#[test]
fn a_killed_server_leaves_a_database_that_the_next_one_adopts() {
    let site = Site::new();
    let mut server = site.serve();
    let key = site.dev_key();
    assert_eq!(server.remember(&key, "The kettle is broken."), 201);
    let postmaster = site.postmaster();
    server.kill();
    let next = site.serve();
    assert_eq!(site.postmaster(), postmaster, "the same Postgres goes on");
    assert_eq!(next.stdout(), "");
    assert!(next.recalls(&key, "The kettle is broken."));
    next.stop();
}

#[test]
fn nothing_that_was_acknowledged_is_lost_when_everything_is_killed() {
    let site = Site::new();
    let mut server = site.serve();
    let key = site.dev_key();
    let contents = (0..).map(|n| format!("Stone number {n} lies in the garden."));
    let remembered: Vec<String> = std::thread::scope(|scope| {
        let (server, key) = (&server, &key);
        let writer = scope.spawn(move || contents.take_while(|content| server.remember(key, content) == 201).collect());
        sleep(Duration::from_millis(700));
        site.kill_processes();
        writer.join().expect("the writer")
    });
    assert!(!remembered.is_empty());
    server.kill();
    let next = site.serve();
    for content in &remembered {
        assert_eq!(next.remember(&key, content), 200, "known: {content}");
    }
    next.stop();
}

#[test]
fn a_second_server_on_a_folder_ends_and_names_the_first() {
    let site = Site::new();
    let server = site.serve();
    let line = site.refused(&["serve"], &[]);
    assert!(line.contains(&format!("is in use by process {}", server.id())), "{line}");
    assert!(line.contains("CAIRN_DATA_DIR"), "{line}");
    server.stop();
}

#[test]
fn of_twenty_servers_that_start_at_once_one_makes_one_tenant_with_one_key() {
    let site = Site::new();
    let mut starting: Vec<Running> = (0..20).map(|_| site.spawn(&["serve"])).collect();
    let serving: Vec<bool> = starting.iter_mut().map(|server| server.url_or_end().is_some()).collect();
    assert_eq!(serving.iter().filter(|serves| **serves).count(), 1);
    let winner = serving.iter().position(|serves| *serves).expect("one serves");
    let winner = site.serving(starting.remove(winner));
    for loser in starting {
        let line = loser.wait().refused();
        assert!(line.contains("is in use by"), "{line}");
    }
    let only_first = |server: Server<'_>, printed: usize| {
        let tenants = site.done(&["tenant", "list"]);
        assert_eq!((tenants.lines().count(), tenants.matches(" default ").count()), (2, 1), "{tenants}");
        assert_eq!(site.done(&["key", "list", "--tenant", "default"]).lines().count(), 2, "one below the head");
        assert_eq!(server.stdout().matches(&site.dev_key()).count(), printed);
        assert!([200, 201].contains(&server.remember(&site.dev_key(), "The kettle is broken.")));
        server.stop();
    };
    only_first(winner, 1);
    only_first(site.serve(), 0);
}

#[test]
fn a_first_start_cut_off_before_its_key_was_stored_keeps_the_key_it_wrote_down() {
    let site = Site::new();
    let server = site.serve();
    let key = site.dev_key();
    let forget_keys = || {
        block_on(async {
            let mut connection = site.database().connect().await.expect("connects");
            connection.execute("DELETE FROM cairn.api_keys").await.expect("as if it had never come so far");
        });
    };
    forget_keys();
    assert_eq!(server.remember(&key, "The kettle is broken."), 401);
    server.stop();
    let next = site.serve();
    assert_eq!((site.dev_key(), next.stdout().matches(&key).count()), (key.clone(), 1));
    assert_eq!(next.remember(&key, "The kettle is broken."), 201);
    // What cannot be read is no key and gives way to one.
    forget_keys();
    fs::write(site.data.join("dev-key"), &key[..key.len() / 2]).expect("half a key");
    next.stop();
    let last = site.serve();
    assert_ne!(site.dev_key(), key);
    assert_eq!(last.remember(&site.dev_key(), "The kettle is broken."), 200);
    last.stop();
}

#[test]
fn a_server_waits_for_a_command_that_holds_the_folder() {
    let site = Site::new();
    let command = site.spawn(&["migrate"]);
    wait_until("the command has the folder", || {
        fs::read_to_string(site.data.join("lock")).is_ok_and(|id| id == command.id().to_string())
    });
    let server = site.serve();
    let outcome = command.wait();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(server.log().contains("to let go of the data folder"), "{}", server.log());
    server.stop();
}

#[test]
fn a_first_start_that_is_killed_half_way_starts_over() {
    let site = Site::new();
    for wait_ms in [100, 300, 600, 1_000] {
        let mut half = site.spawn(&["serve"]);
        sleep(Duration::from_millis(wait_ms));
        half.kill();
    }
    let server = site.serve();
    assert_eq!(server.remember(&site.dev_key(), "The kettle is broken."), 201);
    server.stop();
    let unfinished = fs::read_dir(site.data.join("postgres")).expect("the folder").flatten();
    assert_eq!(unfinished.filter(|entry| entry.file_name().to_string_lossy().starts_with("unfinished-")).count(), 0);
}

#[test]
fn a_signal_during_the_start_stops_what_was_started() {
    let site = Site::new();
    for wait_ms in [200, 500, 900] {
        let starting = site.spawn(&["serve"]);
        sleep(Duration::from_millis(wait_ms));
        signal(starting.id(), Signal::SIGTERM);
        let outcome = starting.wait();
        assert_eq!(outcome.code, Some(0), "after {wait_ms} ms: {}", outcome.stderr);
        assert_eq!(site.processes(), [0; 0], "after {wait_ms} ms: {}", outcome.stderr);
    }
    site.serve().stop();
}

#[test]
fn ctrl_c_on_the_terminal_reaches_the_server_alone() {
    let site = Site::new();
    let mut server = site.serve();
    let group = getpgid(Some(Pid::from_raw(site.postmaster()))).expect("a group");
    assert_eq!(group.as_raw(), site.postmaster(), "Postgres is stopped by the server, in order");
    signal(server.id(), Signal::SIGINT);
    server.ends(0);
}
