//! The way to Redis, against real servers. What it says is watched through a log of the test's own.

mod cluster;
mod faults;
mod tls;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn::config;
use cairn::redis::{Put, Redis, Unavailable};
use deadpool_redis::redis::{self as client, cmd};
use tokio::runtime::Handle;
use tracing::subscriber::DefaultGuard;
use uuid::Uuid;

use crate::support::redis::Redis as Server;

/// Of tests that are about something else than time: a busy machine must not make them fail.
const NO_HURRY_MS: u64 = 1_000;

fn settings() -> config::Cache {
    config::Cache { redis_deadline_ms: NO_HURRY_MS, ..config::Cache::default() }
}

fn open(url: &str) -> Redis {
    Redis::open(&settings(), url, Handle::current()).expect("a good URL")
}

fn put(key: &str, value: &str) -> Put {
    Put { key: key.to_owned(), value: value.into(), ttl: Duration::from_secs(60), indexes: Vec::new() }
}

async fn get(redis: &Redis, key: &str) -> Result<Option<String>, Unavailable> {
    let values = redis.get(vec![key.to_owned()]).await?;
    Ok(values.into_iter().next().flatten().map(|value| String::from_utf8(value).expect("UTF-8")))
}

/// The value of one series, as `/metrics` would show it.
fn metric(redis: &Redis, name: &str, labels: &[(&str, &str)]) -> f64 {
    let families = redis.collectors().into_iter().flat_map(|collector| collector.collect());
    let family = families.into_iter().find(|family| family.name() == name).expect("a metric of this name");
    let labels: HashMap<_, _> = labels.iter().copied().collect();
    let series = family.get_metric().iter().find(|metric| {
        let found: HashMap<_, _> = metric.get_label().iter().map(|label| (label.name(), label.value())).collect();
        found == labels
    });
    let series = series.expect("a series with these labels");
    series.get_gauge().get_value() + series.get_counter().get_value()
}

/// What this thread logs; tests have one thread each.
struct Lines {
    written: Arc<Mutex<Vec<u8>>>,
    _guard: DefaultGuard,
}

impl Lines {
    fn watch() -> Self {
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let writer = Writer(written.clone());
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        Self { written, _guard: tracing::subscriber::set_default(subscriber) }
    }

    fn all(&self) -> Vec<String> {
        let written = self.written.lock().expect("not poisoned");
        String::from_utf8_lossy(&written).lines().map(str::to_owned).collect()
    }

    fn with(&self, words: &str) -> usize {
        self.all().iter().filter(|line| line.contains(words)).count()
    }
}

#[derive(Clone)]
struct Writer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_is_put_is_there_for_its_time_and_no_longer() {
    let server = Server::start().await;
    let redis = open(&server.url());
    assert_eq!(get(&redis, "cairn:a").await, Ok(None));
    let short = Put { ttl: Duration::from_millis(300), ..put("cairn:b", "gone soon") };
    redis.put(vec![put("cairn:a", "kettle"), short]).await.expect("it is kept");
    assert_eq!(get(&redis, "cairn:a").await, Ok(Some("kettle".to_owned())));
    let ttl_ms: u64 = server.ask(cmd("PTTL").arg("cairn:a")).await.expect("a TTL");
    assert!((50_000..=60_000).contains(&ttl_ms), "{ttl_ms}");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(get(&redis, "cairn:b").await, Ok(None));
    assert_eq!(redis.delete(vec!["cairn:a".to_owned(), "cairn:b".to_owned()]).await, Ok(1));
    assert_eq!(get(&redis, "cairn:a").await, Ok(None));
    assert!(redis.state().ok && redis.state().breaker == "closed", "{:?}", redis.state());
}

#[tokio::test]
async fn many_keys_come_back_in_the_order_asked_for_and_bytes_as_they_went() {
    let server = Server::start().await;
    let redis = open(&server.url());
    let value = |n: u32| (0..=255).cycle().take(n as usize).collect::<Vec<u8>>();
    let puts = (0..500).step_by(2).map(|n| Put { value: value(n), ..put(&format!("k{n}"), "") }).collect();
    redis.put(puts).await.expect("they are kept");
    let values = redis.get((0..500).rev().map(|n| format!("k{n}")).collect()).await.expect("an answer");
    let expected: Vec<_> = (0..500).rev().map(|n| (n % 2 == 0).then(|| value(n))).collect();
    assert_eq!(values, expected);
    assert_eq!(redis.get(Vec::new()).await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_get_is_one_command_and_no_questions_before_it() {
    let server = Server::start().await;
    let redis = open(&server.url());
    redis.put(vec![put("a", "1")]).await.expect("it is kept");
    server.ask::<()>(cmd("CONFIG").arg("RESETSTAT")).await.expect("a reset");
    for _ in 0..200 {
        assert_eq!(get(&redis, "a").await, Ok(Some("1".to_owned())));
    }
    let stats: String = server.ask(cmd("INFO").arg("commandstats")).await.expect("statistics");
    assert!(stats.contains("cmdstat_get:calls=200,"), "{stats}");
    assert!(!stats.contains("cmdstat_ping") && !stats.contains("cmdstat_unwatch"), "{stats}");
    assert_eq!(metric(&redis, "cairn_redis_calls_total", &[("command", "get"), ("outcome", "answered")]), 200.0);
    assert_eq!(metric(&redis, "cairn_redis_connections", &[]), 1.0);
}

#[tokio::test]
async fn an_index_lists_the_youngest_thousand_and_deletes_what_it_lists() {
    let server = Server::start().await;
    let redis = open(&server.url());
    let of = |indexes: &[&str], n: u64| Put {
        indexes: indexes.iter().map(|index| (*index).to_owned()).collect(),
        ttl: Duration::from_secs(60 + n),
        ..put(&format!("k{n}"), "v")
    };
    redis.put((0..1_200).map(|n| of(&["one"], n)).collect()).await.expect("they are kept");
    redis.put(vec![of(&["one", "two"], 5_000), of(&[], 6_000)]).await.expect("they are kept");
    let listed: Vec<String> = server.ask(cmd("ZRANGE").arg("one").arg(0).arg(-1)).await.expect("a list");
    assert_eq!((listed.len(), listed[0].as_str(), listed[999].as_str()), (1_000, "k201", "k5000"));
    let ttl_ms: i64 = server.ask(cmd("PTTL").arg("one")).await.expect("a TTL");
    assert!((5_060_000..=10_120_000).contains(&ttl_ms), "it outlives what it lists, and not by much: {ttl_ms}");

    let indexes = ["one", "two", "none"].map(str::to_owned).to_vec();
    assert_eq!(redis.delete_indexed(indexes).await, Ok(1_000));
    let left: Vec<String> = server.ask(cmd("KEYS").arg("*")).await.expect("keys");
    assert_eq!(left.len(), 202, "200 that were too old to be listed, and those never listed: {left:?}");
    assert_eq!(get(&redis, "k6000").await, Ok(Some("v".to_owned())));
}

#[tokio::test]
async fn clearing_takes_every_key_that_begins_so_and_no_other() {
    let server = Server::start().await;
    let redis = open(&server.url());
    let puts = (0..3_000).map(|n| put(&format!("a[b]*:{n}"), "v")).chain([put("ab*:1", "v"), put("a[b]", "v")]);
    redis.put(puts.collect()).await.expect("they are kept");
    assert_eq!(redis.clear("a[b]*:").await, Ok(3_000));
    let mut left: Vec<String> = server.ask(cmd("KEYS").arg("*")).await.expect("keys");
    left.sort();
    assert_eq!(left, ["a[b]", "ab*:1"]);
    let stats: String = server.ask(cmd("INFO").arg("commandstats")).await.expect("statistics");
    assert!(stats.contains("cmdstat_keys:calls=1,"), "only this test asks for KEYS: {stats}");
}

#[tokio::test]
async fn what_is_published_reaches_who_subscribed_also_after_a_restart() {
    let server = Server::start().await;
    let (one, other) = (open(&server.url()), open(&server.url()));
    let mut messages = one.subscribe("cairn:events");
    let mut heard = async |message: &str| {
        // A subscription takes effect at some time, and says nothing.
        for _ in 0..300 {
            let _ = other.publish("cairn:events", message.into()).await;
            let wait = tokio::time::timeout(Duration::from_millis(50), messages.recv());
            match wait.await {
                Ok(received) if received.as_deref() == Some(message.as_bytes()) => return true,
                Ok(None) => return false,
                _ => {}
            }
        }
        false
    };
    assert!(heard("before").await);
    server.kill();
    server.restart().await;
    assert!(heard("after").await);
}

#[tokio::test]
async fn messages_that_nobody_takes_are_dropped_and_counted() {
    let server = Server::start().await;
    let redis = open(&server.url());
    let messages = redis.subscribe("c");
    let subscribers = async || {
        let answer: Vec<client::Value> = server.ask(cmd("PUBSUB").arg("NUMSUB").arg("c")).await.expect("a number");
        answer[1] == client::Value::Int(1)
    };
    crate::support::process::wait("it subscribes", subscribers).await;
    for n in 0..1_100 {
        redis.publish("c", format!("{n}").into_bytes()).await.expect("it is published");
    }
    let dropped = || metric(&redis, "cairn_redis_messages_total", &[("outcome", "dropped")]);
    crate::support::process::wait("they come", async || dropped() >= 76.0).await;
    assert_eq!((dropped(), messages.len()), (76.0, 1_024));
    drop(messages);
    let gone = async || !subscribers().await;
    crate::support::process::wait("the subscription ends with its receiver", gone).await;
}

#[tokio::test]
async fn who_may_enter_with_a_password_or_as_a_user_does_and_finds_the_right_database() {
    let server = Server::with_password("kettle").await;
    let (zero, three) = (open(&server.url()), open(&format!("{}/3", server.url())));
    three.put(vec![put("cairn:a", "in three")]).await.expect("it is kept");
    assert_eq!(get(&zero, "cairn:a").await, Ok(None));
    assert_eq!(get(&three, "cairn:a").await, Ok(Some("in three".to_owned())));

    let rules = "resetchannels ~cairn:* &cairn:* -@all +get +mget +set +zadd +zremrangebyrank +pexpire +unlink +publish +select";
    let server = Server::with_user("ada", "p%40ss", rules).await;
    // The server was given the text, a URL holds it in percent encoding.
    let redis = open(&server.url().replace("p%40ss", "p%2540ss"));
    redis.put(vec![put("cairn:a", "v")]).await.expect("it is kept");
    assert_eq!(get(&redis, "cairn:a").await, Ok(Some("v".to_owned())));
    assert_eq!(get(&redis, "other:a").await, Err(Unavailable::Failed), "the user may not");
}

#[tokio::test]
async fn a_unix_socket_is_a_way_too() {
    let server = Server::on_socket().await;
    let path = server.url();
    let path = path.strip_prefix("redis+unix://").expect("a socket");
    for url in [format!("redis+unix://{path}"), format!("unix://{path}?db=2")] {
        let redis = open(&url);
        redis.put(vec![put("a", &url)]).await.expect("it is kept");
        assert_eq!(get(&redis, "a").await, Ok(Some(url)));
    }
    let keys: String = server.ask(cmd("INFO").arg("keyspace")).await.expect("statistics");
    assert!(keys.contains("db0:keys=1") && keys.contains("db2:keys=1"), "{keys}");
}

#[tokio::test]
async fn a_wrong_url_is_an_error_at_the_start_that_names_the_setting_and_no_password() {
    let secret = "s3cret";
    let urls = [
        "localhost:6379".to_owned(),
        format!("http://:{secret}@localhost"),
        format!("redis://:{secret}/x@localhost"),
        format!("redis://:{secret}@localhost/zero"),
        format!("redis://:{secret}@localhost:port"),
        format!("rediss://:{secret}@localhost/#insecure"),
        format!("redis://:{secret}@one,redis://:{secret}@two"),
        String::new(),
    ];
    for url in urls {
        let error = Redis::open(&settings(), &url, Handle::current()).err().map(|error| format!("{error:#}"));
        let error = error.unwrap_or_else(|| panic!("{url} is taken"));
        assert!(error.contains("cache.redis_url") && !error.contains(secret) && !error.contains('\n'), "{error}");
    }
    let cluster = config::Cache { redis_cluster: true, ..settings() };
    let url = format!("redis://:{secret}@one,redis://:other@two");
    let error = Redis::open(&cluster, &url, Handle::current()).err().map(|error| format!("{error:#}"));
    assert!(error.is_some_and(|error| error.contains("different password") && !error.contains(secret)));
}

#[tokio::test]
async fn once_closed_nobody_is_asked_and_nothing_is_said() {
    let server = Server::start().await;
    let (redis, lines) = (open(&server.url()), Lines::watch());
    let mut messages = redis.subscribe(&Uuid::new_v4().to_string());
    redis.put(vec![put("a", "1")]).await.expect("it is kept");
    redis.close();
    for _ in 0..10 {
        assert_eq!(get(&redis, "a").await, Err(Unavailable::Resting));
    }
    assert_eq!(messages.recv().await, None);
    assert_eq!(lines.all(), [""; 0]);
}
