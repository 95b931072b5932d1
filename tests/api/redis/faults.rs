//! What goes wrong with Redis and the way to it: calls fail fast, then rest; one line says so, one says that it is over.

use std::time::{Duration, Instant};

use cairn::config;
use cairn::redis::{Redis, Unavailable};
use deadpool_redis::redis::cmd;
use tokio::runtime::Handle;

use super::{Lines, get, metric, open, put};
use crate::support::fault::{Fault, FaultProxy, Target};
use crate::support::process::wait;
use crate::support::redis::Redis as Server;

const FAILS: &str = "Redis fails";
const HEALED: &str = "Redis answers again";
/// Longer than by default, since other tests keep this machine busy.
const DEADLINE: Duration = Duration::from_millis(100);

fn open_in_a_hurry(url: &str) -> Redis {
    let settings = config::Cache { redis_deadline_ms: DEADLINE.as_millis() as u64, ..config::Cache::default() };
    Redis::open(&settings, url, Handle::current()).expect("a good URL")
}

/// Ten calls a second for so long; the slowest of them.
async fn call(redis: &Redis, time: Duration) -> Duration {
    let (begin, mut slowest) = (Instant::now(), Duration::ZERO);
    while begin.elapsed() < time {
        let one = Instant::now();
        let _ = get(redis, "a").await;
        slowest = slowest.max(one.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    slowest
}

fn probes(redis: &Redis) -> f64 {
    metric(redis, "cairn_redis_calls_total", &[("command", "probe"), ("outcome", "failed")])
}

/// How often somebody came to this server.
async fn visits(server: &Server) -> u64 {
    let stats: String = server.ask(cmd("INFO").arg("stats")).await.expect("statistics");
    let line = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:")).expect("a count");
    line.trim().parse().expect("a number")
}

/// A server behind a proxy, and the breaker closed.
async fn ways() -> (Server, FaultProxy, Redis) {
    let server = Server::start().await;
    let proxy = FaultProxy::start(Target::Port(server.port())).await;
    let redis = open_in_a_hurry(&format!("redis://127.0.0.1:{}", proxy.port));
    wait("it works", async || redis.put(vec![put("a", "1")]).await.is_ok()).await;
    (server, proxy, redis)
}

/// What all faults of the way have in common. `heals` undoes what `hurts` did.
async fn survives(redis: &Redis, connections: impl Fn() -> u64, hurts: impl FnOnce(), heals: impl AsyncFnOnce()) {
    let lines = Lines::watch();
    hurts();
    let slowest = call(redis, Duration::from_secs(2)).await;
    assert!(!redis.state().ok, "it opens within two seconds at ten calls a second: {:?}", lines.all());
    assert!(slowest < DEADLINE + Duration::from_millis(400), "no caller waits for longer: {slowest:?}");
    let (before, probed_before) = (connections(), probes(redis));
    let resting = Instant::now();
    call(redis, Duration::from_secs(4)).await;
    assert_eq!(get(redis, "a").await, Err(Unavailable::Resting));
    let (seen, probed) = ((connections() - before) as f64, probes(redis) - probed_before);
    assert!(seen <= probed + 1.0, "{seen} connections, {probed} probes: who else comes?");
    assert!(probed >= 1.0 && seen <= 2.0 * resting.elapsed().as_secs_f64() + 1.0, "{seen} connections");
    assert_eq!(metric(redis, "cairn_redis_breaker_open", &[("calls", "all")]), 1.0);

    heals().await;
    let begin = Instant::now();
    // No call is made: it heals without.
    wait("it closes", async || redis.state().ok).await;
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert!(redis.put(vec![put("a", "2")]).await.is_ok());
    assert_eq!(get(redis, "a").await, Ok(Some("2".to_owned())));
    assert_eq!((lines.with(FAILS), lines.with(HEALED), lines.all().len()), (1, 1, 2), "{:?}", lines.all());
    assert_eq!(metric(redis, "cairn_redis_breaker_opened_total", &[("calls", "all")]), 1.0);
    assert_eq!(metric(redis, "cairn_redis_breaker_open", &[("calls", "all")]), 0.0);
}

async fn survives_way(fault: Fault) {
    let (_server, proxy, redis) = ways().await;
    // It hears that Redis is gone first, and adds no line and no attempt of its own.
    let _messages = redis.subscribe("c");
    survives(&redis, || proxy.connections(), || proxy.set(fault), async || proxy.set(Fault::Pass)).await;
}

#[tokio::test]
async fn a_redis_that_never_answers_is_left_alone_until_it_does() {
    survives_way(Fault::BlackHole).await;
}

#[tokio::test]
async fn a_redis_whose_answers_are_lost_is_left_alone_until_they_come() {
    survives_way(Fault::LoseAnswers).await;
}

#[tokio::test]
async fn a_redis_that_resets_connections_is_left_alone_until_it_does_not() {
    survives_way(Fault::Reset).await;
}

#[tokio::test]
async fn a_redis_that_takes_no_connections_is_left_alone_until_it_does() {
    survives_way(Fault::Refuse).await;
}

#[tokio::test]
async fn a_redis_that_takes_seconds_is_left_alone_until_it_is_fast() {
    survives_way(Fault::Delay(Duration::from_secs(4))).await;
}

#[tokio::test]
async fn a_killed_redis_is_found_again_after_its_restart() {
    let (server, proxy, redis) = ways().await;
    survives(&redis, || proxy.connections(), || server.kill(), async || server.restart().await).await;
}

#[tokio::test]
async fn a_stopped_process_is_no_different() {
    let (server, proxy, redis) = ways().await;
    survives(&redis, || proxy.connections(), || server.pause(), async || server.resume()).await;
}

#[tokio::test]
async fn a_redis_that_is_down_at_the_start_is_found_when_it_comes() {
    let server = Server::start().await;
    server.kill();
    let redis = open_in_a_hurry(&server.url());
    survives(&redis, || 0, || {}, async || server.restart().await).await;
}

#[tokio::test]
async fn a_restart_that_nobody_noticed_costs_no_call() {
    let server = Server::start().await;
    let redis = open(&server.url());
    let crowd = async || {
        let gets = (0..16).map(|_| get(&redis, "a"));
        futures_util::future::join_all(gets).await.into_iter().all(|answer| answer.is_ok())
    };
    assert!(crowd().await && metric(&redis, "cairn_redis_connections", &[]) > 1.0);
    server.kill();
    server.restart().await;
    assert!(crowd().await, "the connections that lay idle are dead, and nobody fails for it");
}

#[tokio::test]
async fn a_connection_that_owes_an_answer_is_lent_to_nobody() {
    let (_server, proxy, redis) = ways().await;
    proxy.set(Fault::LoseAnswers);
    for _ in 0..3 {
        let before = proxy.connections();
        assert_eq!(get(&redis, "a").await, Err(Unavailable::TooSlow));
        // By then nobody waits for the answer any more.
        tokio::time::sleep(12 * DEADLINE).await;
        let _ = get(&redis, "a").await;
        assert!(proxy.connections() > before, "another connection is made");
    }
}

#[tokio::test]
async fn an_answer_that_is_late_saves_its_connection() {
    let (server, proxy, redis) = ways().await;
    let before = proxy.connections();
    for _ in 0..3 {
        server.pause();
        assert_eq!(get(&redis, "a").await, Err(Unavailable::TooSlow));
        server.resume();
        wait("it works", async || get(&redis, "a").await.is_ok()).await;
        tokio::time::sleep(DEADLINE).await;
    }
    // One more may be made while the answer is awaited, and serves from then on.
    assert!(proxy.connections() <= before + 1, "{} new connections", proxy.connections() - before);
}

#[tokio::test]
async fn connections_that_are_lost_all_the_time_are_not_made_all_the_time() {
    let server = Server::start().await;
    let proxy = FaultProxy::start(Target::Port(server.port())).await;
    let redis = open(&format!("redis://127.0.0.1:{}", proxy.port));
    let begin = Instant::now();
    for _ in 0..150 {
        let _ = get(&redis, "a").await;
        server.ask::<u64>(cmd("CLIENT").arg(&["KILL", "TYPE", "normal"])).await.expect("they are cut");
    }
    let most = 32.0 + 2.0 * begin.elapsed().as_secs_f64() + 2.0;
    assert!((30.0..=most).contains(&(proxy.connections() as f64)), "{} connections", proxy.connections());
}

#[tokio::test]
async fn a_subscription_that_is_cut_without_a_word_is_made_again() {
    let (_server, proxy, redis) = ways().await;
    let before = proxy.connections();
    let _messages = redis.subscribe("c");
    wait("it subscribes", async || proxy.connections() > before).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = proxy.connections();
    proxy.set(Fault::LoseAnswers);
    // Nobody calls, so nothing but the subscription can find out.
    wait("it tries again", async || proxy.connections() > before).await;
}

#[tokio::test]
async fn a_wrong_password_is_one_line_of_the_log_without_it() {
    let server = Server::with_password("kettle").await;
    let (redis, lines) = (open(&server.url().replace("kettle", "pot")), Lines::watch());
    for _ in 0..20 {
        assert!(get(&redis, "a").await.is_err());
    }
    assert_eq!((lines.with(FAILS), lines.all().len()), (1, 1), "{:?}", lines.all());
    assert_eq!(lines.with("pot") + lines.with("kettle"), 0, "{:?}", lines.all());
    server.ask::<()>(cmd("CONFIG").arg(&["SET", "requirepass", "pot"])).await.expect("it is changed");
    wait("it closes", async || redis.state().ok).await;
    assert_eq!((lines.with(HEALED), lines.all().len()), (1, 2), "{:?}", lines.all());
}

/// Stores are refused, reads go on; then stores are taken again.
async fn goes_on_reading(redis: &Redis, heals: impl AsyncFnOnce()) {
    let lines = Lines::watch();
    for _ in 0..30 {
        assert!(redis.put(vec![put("b", &"x".repeat(1_000))]).await.is_err());
        assert_eq!(get(redis, "a").await, Ok(Some("1".to_owned())));
    }
    let state = redis.state();
    assert!(!state.ok && state.breaker == "closed" && state.detail.starts_with("read but not written"), "{state:?}");
    assert_eq!((lines.with("Redis keeps nothing new"), lines.all().len()), (1, 1), "{:?}", lines.all());
    let count = |outcome| metric(redis, "cairn_redis_calls_total", &[("command", "put"), ("outcome", outcome)]);
    assert_eq!((count("refused"), count("resting")), (5.0, 25.0));
    assert_eq!(metric(redis, "cairn_redis_breaker_open", &[("calls", "stores")]), 1.0);
    heals().await;
    wait("it closes", async || redis.state().ok).await;
    assert!(redis.put(vec![put("b", "2")]).await.is_ok());
    assert_eq!((lines.with("Redis keeps new entries again"), lines.all().len()), (1, 2), "{:?}", lines.all());
}

#[tokio::test]
async fn a_redis_without_room_is_read_and_written_again_when_there_is_some() {
    let server = Server::start_with(&["--maxmemory", "100mb", "--maxmemory-policy", "noeviction"]).await;
    let redis = open(&server.url());
    redis.put(vec![put("a", "1")]).await.expect("it is kept");
    let limit = async |limit: &str| {
        server.ask::<()>(cmd("CONFIG").arg(&["SET", "maxmemory", limit])).await.expect("it is changed");
    };
    limit("100kb").await;
    let before = visits(&server).await;
    goes_on_reading(&redis, async || limit("100mb").await).await;
    // This test came twice.
    assert!(visits(&server).await <= before + 3, "a refusal is no reason for a new connection");
    assert_eq!(redis.delete(vec!["a".to_owned()]).await, Ok(1));
}

#[tokio::test]
async fn a_replica_is_read_and_written_when_it_is_promoted() {
    let master = Server::start().await;
    open(&master.url()).put(vec![put("a", "1")]).await.expect("it is kept");
    let replica = master.replica().await;
    let redis = open(&replica.url());
    let promote = async || replica.ask::<()>(cmd("REPLICAOF").arg("NO").arg("ONE")).await.expect("it is promoted");
    // A replica refuses to delete, too, and that is no reason not to read.
    for _ in 0..10 {
        assert_eq!(redis.delete(vec!["a".to_owned()]).await, Err(Unavailable::Failed));
    }
    assert!(visits(&replica).await >= 10, "a name may lead to the new master: each time it is asked for anew");
    goes_on_reading(&redis, promote).await;
}

#[tokio::test]
async fn a_full_pool_keeps_nobody_waiting_beyond_the_deadline() {
    let (server, _proxy, redis) = ways().await;
    server.pause();
    let begin = Instant::now();
    let answers = futures_util::future::join_all((0..200).map(|_| get(&redis, "a"))).await;
    assert!(answers.iter().all(Result::is_err) && begin.elapsed() < DEADLINE + Duration::from_millis(500));
    server.resume();
    wait("it closes", async || redis.state().ok).await;
    assert_eq!(get(&redis, "a").await, Ok(Some("1".to_owned())));
}
