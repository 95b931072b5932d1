//! The data folder: who may enter, where its sockets lie, and what a crash or a neighbour left in it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use crate::site::{Site, block_on, is_root_or_skips};

#[test]
fn nobody_else_gets_to_the_database() {
    let site = Site::new();
    let server = site.serve();
    let options = PgConnectOptions::new_without_pgpass().socket(site.data.join("run")).database("cairn");
    for options in [options.clone().username("cairn"), options.clone().username("cairn").password("wrong")] {
        let error = block_on(options.connect()).expect_err("a password is asked for");
        assert!(error.to_string().contains("password"), "{error}");
    }
    for name in ["postgres", "redis", "run", "dev-key", "secret-key", "postgres/password", "redis/redis.conf"] {
        let mode = fs::metadata(site.data.join(name)).expect("it is there").mode();
        assert_eq!(mode & 0o077, 0, "{name} is closed to others");
    }
    let environment = fs::read(format!("/proc/{}/environ", site.postmaster())).expect("its environment");
    assert!(!String::from_utf8_lossy(&environment).contains("CAIRN"), "secrets stay in the server");
    server.stop();
}

#[test]
fn a_long_or_odd_path_gets_a_short_folder_for_its_sockets() {
    for name in [&"long/".repeat(30), "with space, and 'quote' é"] {
        let site = Site::with_data(name);
        let mut server = site.serve();
        let sockets = fs::read_link(site.data.join("run")).expect("a link");
        assert!(sockets.starts_with("/tmp") && sockets.as_os_str().len() < 40, "{}", sockets.display());
        assert_eq!(fs::metadata(&sockets).expect("a folder").mode() & 0o777, 0o700);
        assert!(site.done(&["tenant", "list"]).contains("default"));
        server.kill();
        site.serve().stop();
        assert!(!sockets.exists() && fs::symlink_metadata(site.data.join("run")).is_err());
        // A machine that starts again finds the data but not what was in /tmp.
        let mut server = site.serve();
        let sockets = fs::read_link(site.data.join("run")).expect("a link");
        server.kill();
        site.kill_processes();
        fs::remove_dir_all(sockets).expect("its sockets");
        site.serve().stop();
    }
}

#[test]
fn a_process_that_was_given_the_old_id_is_neither_adopted_nor_in_the_way() {
    let site = Site::new();
    site.serve().kill();
    let files = [site.data.join("postgres/data/postmaster.pid"), site.data.join("run/.s.PGSQL.5432.lock")];
    let old = site.postmaster().to_string();
    let texts = files.each_ref().map(|file| fs::read_to_string(file).expect("a file of Postgres"));
    site.kill_processes();
    let mut stranger = Command::new("sleep").arg("60").spawn().expect("a process");
    for (file, text) in files.iter().zip(texts) {
        fs::write(file, text.replacen(&old, &stranger.id().to_string(), 1)).expect("a stale file");
    }
    let next = site.serve();
    let key = site.dev_key();
    assert_eq!(next.remember(&key, "The kettle is broken."), 201);
    next.stop();
    let unharmed = stranger.try_wait().expect("wait").is_none();
    stranger.kill().ok();
    stranger.wait().ok();
    assert!(unharmed);
}

#[test]
fn a_database_that_does_not_start_says_why() {
    let mut site = Site::new();
    site.done(&["migrate"]);
    fs::write(site.data.join("postgres/data/PG_VERSION"), "9\n").expect("a file");
    let line = site.refused(&["serve"], &[]);
    assert!(line.contains("initialized by PostgreSQL version 9"), "{line}");
    assert_eq!(site.processes(), [0; 0], "Redis is stopped again");
    site.set("CAIRN_RUNTIME_DIR", "/nonexistent");
    site.set("CAIRN_DATABASE__POSTGRES_BIN", "/nonexistent");
    let line = site.refused(&["serve"], &[]);
    assert!(line.contains("/nonexistent"), "{line}");
}

#[test]
fn root_follows_no_link_out_of_a_folder_of_the_account() {
    if !is_root_or_skips() {
        return;
    }
    let site = Site::new();
    site.done(&["migrate"]);
    let victim = site.data.join("victim");
    fs::write(&victim, "precious").expect("a file");
    for name in ["redis/redis.conf", "postgres/postgres.log", "postgres/data/postmaster.pid"] {
        let path = site.data.join(name);
        fs::remove_file(&path).ok();
        symlink(&victim, &path).expect("a link");
        site.run(&["migrate"]);
        assert_eq!(fs::read_to_string(&victim).expect("a file"), "precious", "{name}");
        assert_eq!(fs::metadata(&victim).expect("a file").uid(), 0, "{name}");
        fs::remove_file(&path).ok();
    }
}

#[test]
fn a_folder_that_the_account_cannot_enter_is_named() {
    if !is_root_or_skips() {
        return;
    }
    let site = Site::with_data("closed/data");
    let closed = site.data.parent().expect("a parent");
    fs::create_dir(closed).expect("a folder");
    fs::set_permissions(closed, Permissions::from_mode(0o700)).expect("chmod");
    let line = site.refused(&["serve"], &[]);
    assert!(line.contains("CAIRN_DATA_DIR") && line.contains(&format!("enter {}:", closed.display())), "{line}");
    assert_eq!(site.processes(), [0; 0]);
}

#[test]
fn root_postgres_runs_as_somebody_else() {
    if !is_root_or_skips() {
        return;
    }
    let site = Site::new();
    let server = site.serve();
    for id in site.processes() {
        assert_ne!(fs::metadata(format!("/proc/{id}")).expect("a process").uid(), 0);
    }
    for name in ["dev-key", "secret-key", "lock"] {
        assert_eq!(fs::metadata(site.data.join(name)).expect("a file").uid(), 0, "{name} stays with root");
    }
    server.stop();
}

#[test]
fn a_folder_of_another_user_is_refused() {
    if !is_root_or_skips() {
        return;
    }
    let site = Site::of_user(65534);
    fs::create_dir(&site.data).expect("a folder");
    let line = site.refused(&["serve"], &[]);
    assert!(line.contains("run cairn as the user who owns this folder"), "{line}");
}
