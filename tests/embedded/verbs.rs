//! What an operator does: tenants, keys and migrations, beside a server, without one, elsewhere.

use std::fs;
use std::net::TcpListener;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::site::{Running, Site, signal};

/// The part of a key that may be shown.
fn id_of(key: &str) -> &str {
    key.split('_').nth(2).expect("an id")
}

/// The one line that was printed.
fn line(printed: &str) -> &str {
    let line = printed.strip_suffix('\n').expect("a whole line");
    assert!(!line.is_empty() && !line.contains(char::is_whitespace), "{printed:?}");
    line
}

#[test]
fn a_key_made_beside_a_server_works_at_once_and_a_revoked_one_no_longer() {
    let site = Site::new();
    let server = site.serve();
    let printed = site.done(&["key", "create", "--tenant", "default", "--name", "robot"]);
    let key = line(&printed);
    assert_eq!(server.remember(key, "The kettle is broken."), 201);
    let keys = site.done(&["key", "list", "--tenant", "default"]);
    let row = keys.lines().find(|row| row.contains(id_of(key))).expect("its row");
    assert!(row.contains("robot") && row.contains("live"), "{row}");
    assert!(!keys.contains(key), "a list shows no secret");

    assert_eq!(site.done(&["key", "revoke", id_of(key)]), "");
    assert_eq!(server.remember(key, "The door is green."), 401);
    assert!(site.done(&["key", "list", "--tenant", "default"]).contains("revoked"));
    assert_eq!(server.remember(&site.dev_key(), "The door is green."), 201, "the other key still works");

    let narrow = site.done(&["key", "create", "--tenant", "default", "--scopes", "memories:read"]);
    assert_eq!(server.remember(line(&narrow), "The lamp is on."), 403);
    server.stop();
}

#[test]
fn quotas_are_set_by_name_and_hold_from_the_next_request_on() {
    let site = Site::new();
    let server = site.serve();
    site.done(&["tenant", "create", "acme", "--memories", "1", "--requests-per-second", "1000"]);
    let printed = site.done(&["key", "create", "--tenant", "acme"]);
    let key = line(&printed);
    let quotas = || server.get_json(key, "/v1/tenant").1["quotas"].clone();
    assert_eq!((&quotas()["memories"], &quotas()["requests_per_second"]), (&json!(1), &json!(1000)));
    assert_eq!([server.remember(key, "The kettle is broken."), server.remember(key, "The lamp is on.")], [201, 429]);
    let set = ["tenant", "quota", "acme", "--memories", "none", "--concurrent-requests", "7"];
    let outcome = site.run(&set);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("\"concurrent_requests\":7"), "{}", outcome.stderr);
    assert_eq!((&quotas()["memories"], &quotas()["requests_per_second"]), (&Value::Null, &json!(1000)));
    assert_eq!(server.remember(key, "The lamp is on."), 201);
    for wrong in [&["--requests-per-second", "0"][..], &["--bytes", "-1"], &["--memories", "many"], &[]] {
        let outcome = site.run(&[&["tenant", "quota", "acme"][..], wrong].concat());
        assert_ne!(outcome.code, Some(0), "{wrong:?}");
    }
    server.stop();
}

#[test]
fn verbs_without_a_server_start_the_database_and_stop_it() {
    let site = Site::new();
    site.done(&["migrate"]);
    assert_eq!(site.processes(), [0; 0]);
    let tenant = site.done(&["tenant", "create", "acme"]);
    assert_eq!(site.processes(), [0; 0]);
    assert!(site.done(&["tenant", "list"]).contains(line(&tenant)));
    let printed = site.done(&["key", "create", "--tenant", "acme"]);
    assert_eq!(site.processes(), [0; 0]);
    let server = site.serve();
    assert_eq!(server.stdout(), "", "who made a tenant needs no first one");
    assert_eq!(server.remember(line(&printed), "The kettle is broken."), 201);
    server.stop();
}

#[test]
fn verbs_at_once_share_one_database() {
    let site = Site::new();
    let names = ["one", "two", "three", "four"];
    let verbs: Vec<Running> = names.iter().map(|name| site.spawn(&["tenant", "create", name])).collect();
    for verb in verbs {
        let outcome = verb.wait();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    }
    assert_eq!(site.processes(), [0; 0]);
    let tenants = site.done(&["tenant", "list"]);
    assert!(names.iter().all(|name| tenants.contains(name)), "{tenants}");
}

#[test]
fn a_circle_is_handed_over_beside_a_server_that_knows_it_at_once() {
    let site = Site::new();
    let server = site.serve();
    let key = site.dev_key();
    let roles = json!({"members": [{"agent_id": "bob", "role": "reader"}, {"agent_id": "eve", "role": "editor"}]});
    assert_eq!(server.put(&key, "/v1/circles/tea", json!({"name": "Tea", "owner": "ada"})).0, 201);
    assert_eq!(server.put(&key, "/v1/circles/tea/members", roles).0, 200);
    let listed = site.done(&["circle", "list", "--tenant", "default"]);
    let row: Vec<&str> = listed.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(row[..4], ["tea", "Tea", "3", "ada"], "{listed}");

    site.done(&["circle", "transfer", "tea", "--to", "bob", "--tenant", "default"]);
    let (_, members) = server.get_json(&key, "/v1/circles/tea/members");
    let roles: Vec<&Value> = members["items"].as_array().expect("members").iter().map(|one| &one["role"]).collect();
    assert_eq!(roles, ["editor", "owner", "editor"], "ada, bob, eve");
    let printed = site.done(&["circle", "members", "tea", "--tenant", "default"]);
    let rows: Vec<Vec<&str>> = printed.lines().skip(1).map(|row| row.split_whitespace().take(2).collect()).collect();
    assert_eq!(rows, [["ada", "editor"], ["bob", "owner"], ["eve", "editor"]]);
    for (verb, named) in [
        (&["circle", "members", "coffee", "--tenant", "default"][..], "circle \"coffee\""),
        (&["circle", "transfer", "tea", "--to", "mal", "--tenant", "default"], "no such agent"),
        (&["circle", "list", "--tenant", "nope"], "--tenant \"nope\": no such tenant"),
    ] {
        let line = site.refused(verb, &[]);
        assert!(line.contains(named), "{verb:?}: {line}");
    }
    server.stop();
}

#[test]
fn verbs_name_what_is_wrong_with_their_arguments() {
    let site = Site::new();
    let server = site.serve();
    let unknown = "0198c5a6-7d3e-7000-8000-000000000000";
    let wrong: [(&[&str], &str); 8] = [
        (&["key", "create", "--tenant", "nope"], "--tenant \"nope\": no such tenant"),
        (&["key", "list", "--tenant", "nope"], "--tenant \"nope\": no such tenant"),
        (&["key", "create", "--tenant", "default", "--scopes", "root"], "--scopes"),
        (&["key", "create", "--tenant", "default", "--name", ""], "--name"),
        (&["key", "create", "--tenant", "default", "--agent", "ada"], "--agent ada: no such agent"),
        (&["key", "revoke", "nonsense"], "no key id"),
        (&["key", "revoke", unknown], unknown),
        (&["tenant", "create", "default"], "default"),
    ];
    for (verb, named) in wrong {
        let line = site.refused(verb, &[]);
        assert!(line.contains(named), "{verb:?}: {line}");
    }
    assert_eq!(site.done(&["key", "list", "--tenant", "default"]).lines().count(), 2, "no key was made");
    server.stop();
}

#[test]
fn a_given_database_is_migrated_and_filled_by_its_operator_alone() {
    let elsewhere = Site::new();
    let postgres = elsewhere.serve();
    let password = fs::read_to_string(elsewhere.data.join("postgres/password")).expect("a password");
    let url = elsewhere.new_database("given");

    let mut site = Site::new();
    site.set("DATABASE_URL", &url);
    let missing = site.refused(&["serve"], &[]);
    assert!(missing.contains("secret_key (CAIRN_SECRET_KEY)"), "{missing}");
    site.set_database(&url);
    for verb in [&["serve"][..], &["tenant", "list"], &["key", "list", "--tenant", "default"]] {
        let line = site.refused(verb, &[]);
        assert!(line.contains("cairn migrate") && !line.contains(&password), "{line}");
    }
    site.done(&["migrate"]);
    site.done(&["migrate"]);
    assert_eq!(site.done(&["tenant", "list"]).lines().count(), 1, "the head of the table");
    line(&site.done(&["tenant", "create", "acme"]));
    let printed = site.done(&["key", "create", "--tenant", "acme"]);
    let server = site.serve();
    assert_eq!(server.stdout(), "");
    assert_eq!(server.remember(line(&printed), "The kettle is broken."), 201);
    assert_eq!(server.remember(&elsewhere.dev_key(), "The kettle is broken."), 401);
    server.stop();
    assert!(!site.data.exists(), "nothing is kept here");
    postgres.stop();
}

#[test]
fn a_health_check_follows_the_server() {
    let mut site = Site::new();
    let port = TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("an address").port();
    site.set("CAIRN_HTTP__BIND", &format!("0.0.0.0:{port}"));
    let line = site.refused(&["healthcheck"], &[]);
    assert!(line.contains(&format!("http://127.0.0.1:{port}/readyz does not answer")), "{line}");
    let server = site.serve();
    assert_eq!(site.done(&["healthcheck"]), "ready\n");
    assert_eq!(site.done(&["healthcheck", "--live"]), "alive\n");

    let processes = site.processes();
    processes.iter().for_each(|id| signal(*id, Signal::SIGSTOP));
    let line = site.refused(&["healthcheck"], &[]);
    assert!(line.contains("/readyz answers 503: database: "), "{line}");
    assert_eq!(site.done(&["healthcheck", "--live"]), "alive\n", "a database that hangs is no reason for a restart");
    processes.iter().for_each(|id| signal(*id, Signal::SIGCONT));
    server.stop();

    let line = site.refused(&["healthcheck"], &[("CAIRN_HTTP__BIND", "127.0.0.1:0")]);
    assert!(line.contains("http.bind"), "{line}");
}
