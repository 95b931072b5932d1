//! A provider of embeddings that is called, as an operator sets it: what is refused, and who sees its key.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::json;

use crate::site::Site;

const KEY: &str = "sk-Heron-0123456789abcdef";

/// Quotes the credential of every request in its answer: in a refusal, then in what should be vectors.
fn indiscreet_provider() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for status in ["401 Unauthorized", "400 Bad Request", "200 OK"] {
            let (mut connection, _) = listener.accept().expect("a connection");
            let credential = credential(&connection);
            let body = json!({"data": credential, "error": {"message": credential}}).to_string();
            let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            connection.write_all((head + &body).as_bytes()).expect("an answer");
        }
    });
    format!("http://{address}/v1")
}

fn credential(connection: &TcpStream) -> String {
    let mut reader = BufReader::new(connection);
    let (mut credential, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a head");
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => credential = value.to_owned(),
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().expect("size"),
            Some(_) => {}
            None if line == "\r\n" => break,
            None => {}
        }
    }
    reader.read_exact(&mut vec![0; length]).expect("a body");
    assert_eq!(credential, format!("Bearer {KEY}"));
    credential
}

#[test]
fn the_key_is_shown_to_the_provider_and_to_nobody_else() {
    let mut site = Site::new();
    let url = indiscreet_provider();
    for (name, value) in [
        ("CAIRN_EMBEDDINGS__PROVIDER", "openai"),
        ("CAIRN_EMBEDDINGS__MODEL", "stones-1"),
        ("CAIRN_EMBEDDINGS__DIMENSIONS", "384"),
        ("CAIRN_EMBEDDINGS__BASE_URL", &url),
        ("CAIRN_EMBEDDINGS__API_KEY", KEY),
        ("CAIRN_LOG", "trace"),
    ] {
        site.set(name, value);
    }
    let shown = site.done(&["config"]);
    let line = shown.lines().find(|line| line.contains("embeddings.api_key")).expect("the setting");
    assert!(line.contains("(hidden)") && !shown.contains(KEY), "{shown}");

    let mut server = site.serve();
    let key = site.dev_key();
    for _ in 0..3 {
        let (status, answer) = server.post(&key, "/v1/agents/ada/remember", json!({"content": "The kettle."}));
        assert_eq!((status, &answer["code"]), (503, &json!("embedding_unavailable")));
        assert!(!answer.to_string().contains("sk-"), "{answer}");
    }
    let log = server.stderr();
    assert!(log.contains("check embeddings.api_key") && log.contains("the provider refused"), "{log}");
    assert!(log.contains("no list of embeddings"), "{log}");
    let shown: Vec<&str> = log.lines().filter(|line| line.to_lowercase().contains(&KEY.to_lowercase())).collect();
    assert!(shown.is_empty(), "{shown:#?}");
    // A log of everything has lines that no operator is promised.
    server.kill();
}

#[test]
fn a_provider_that_cannot_be_called_is_refused_at_the_start() {
    let mut site = Site::new();
    for (name, value) in [
        ("CAIRN_EMBEDDINGS__PROVIDER", "openai"),
        ("CAIRN_EMBEDDINGS__MODEL", "stones-1"),
        ("CAIRN_EMBEDDINGS__DIMENSIONS", "384"),
    ] {
        site.set(name, value);
    }
    for (name, value) in [
        ("MODEL", ""),
        ("DIMENSIONS", "0"),
        ("DIMENSIONS", "16001"),
        ("BASE_URL", "api.openai.com/v1"),
        ("BASE_URL", "ftp://api.openai.com/v1"),
        ("BASE_URL", "https://ada:hunter2@api.openai.com/v1"),
        ("BASE_URL", "https://api.openai.com/v1?key=hunter2"),
        ("API_KEY", "hunter2 and more"),
        ("API_KEY", "4711471147114711"),
        ("MAX_INPUT_TOKENS", "1"),
        ("MAX_CALL_INPUTS", "2049"),
        ("MAX_CALL_TOKENS", "100"),
        ("MAX_TENANT_CALLS", "65"),
    ] {
        let line = site.refused(&["serve"], &[(&format!("CAIRN_EMBEDDINGS__{name}"), value)]);
        let setting = format!("configuration: setting embeddings.{}", name.to_lowercase());
        assert!(line.contains(&setting), "{name}={value}: {line}");
        assert!(!line.contains("hunter2") && !line.contains("4711"), "{line}");
        assert!(!site.data.exists(), "{name}={value}");
    }
}

#[test]
fn the_size_of_the_vectors_must_be_said() {
    let site = Site::new();
    let settings = [("CAIRN_EMBEDDINGS__PROVIDER", "openai"), ("CAIRN_EMBEDDINGS__MODEL", "stones-1")];
    assert!(site.refused(&["serve"], &settings).contains("configuration: setting embeddings.dimensions"));
    assert!(site.refused(&["serve"], &settings[..1]).contains("configuration: setting embeddings.model"));
}
