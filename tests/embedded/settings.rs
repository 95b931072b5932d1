//! What is wrong with the settings is said in one line, before anything is made.

use std::fs;
use std::net::TcpListener;

use crate::site::Site;

#[test]
fn a_wrong_setting_is_named_and_nothing_is_made() {
    let site = Site::new();
    let url = "postgres://ada:hunter2@127.0.0.1:1/cairn";
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let wrong: [(&[(&str, &str)], &str); 12] = [
        (&[("CAIRN_HTTP__BINDD", "x")], "http.bindd"),
        (&[("CAIRN_HTTP__BIND", "x")], "http.bind"),
        (&[("CAIRN_DATABASE__READ_TIMEOUT_MS", "soon")], "database.read_timeout_ms"),
        (&[("CAIRN_LOG", "a=b=c")], "log.filter"),
        (&[("CAIRN_TELEMETRY__OTLP_ENDPOINT", "collector:hunter2")], "telemetry.otlp_endpoint"),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://collector:4317")], "telemetry.otlp_endpoint"),
        (&[("CAIRN_TELEMETRY__SAMPLING", "2")], "telemetry.sampling"),
        (&[("CAIRN_AUTH__KEY_ENVIRONMENT", "A_B")], "auth.key_environment"),
        (&[("CAIRN_SECRET_KEY", "hunter2")], "secret_key"),
        (&[("DATABASE_URL", url)], "secret_key (CAIRN_SECRET_KEY)"),
        (&[("DATABASE_URL", url), ("CAIRN_SECRET_KEY", "hunter2")], "secret_key"),
        (&[("DATABASE_URL", "mysql://ada:hunter2@127.0.0.1:1/cairn"), ("CAIRN_SECRET_KEY", key)], "database.url"),
    ];
    for (settings, named) in wrong {
        for verb in [&["serve"][..], &["key", "list", "--tenant", "default"]] {
            let line = site.refused(verb, settings);
            assert!(line.contains(&format!("configuration: setting {named}")), "{settings:?}: {line}");
            assert!(!line.contains("hunter2"), "{line}");
            assert!(!site.data.exists(), "{settings:?}");
        }
    }
}

#[test]
fn a_wrong_file_is_named() {
    let site = Site::new();
    let file = site.dir.path().join("cairn.toml");
    for (text, named) in [("[http]\nbindd = 1\n", "http.bindd"), ("bind = 1\n", "bind"), ("x = [\n", "TOML")] {
        fs::write(&file, text).expect("a file");
        let line = site.refused(&["serve"], &[]);
        assert!(line.contains(named) && line.contains("cairn.toml"), "{line}");
    }
    let line = site.refused(&["--config", "nowhere.toml", "serve"], &[]);
    assert!(line.contains("nowhere.toml"), "{line}");
    assert!(!site.data.exists());
}

#[test]
fn wrong_usage_ends_with_code_2() {
    let site = Site::new();
    for verb in [&["servee"][..], &[], &["key", "create"], &["tenant", "create"], &["serve", "--port", "1"]] {
        let outcome = site.run(verb);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{verb:?}");
    }
    assert!(!site.data.exists());
}

#[test]
fn a_start_that_fails_late_stops_what_it_started() {
    let site = Site::new();
    site.serve().stop();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let line = site.refused(&["serve"], &[("CAIRN_HTTP__BIND", &address)]);
    assert!(line.contains("http.bind") && line.contains(&address), "{line}");
    assert_eq!(site.processes(), [0; 0]);
    // The key in the folder is as good as a setting.
    fs::write(site.data.join("secret-key"), "nonsense").expect("a file");
    let line = site.refused(&["serve"], &[]);
    assert!(line.contains("secret-key") && !line.contains("nonsense"), "{line}");
    assert_eq!(site.processes(), [0; 0]);
}
