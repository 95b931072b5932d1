//! What the other tests rely on: the stand-ins fail as they are told.

use std::time::{Duration, Instant};

use deadpool_redis::redis::{self, RedisResult};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::fault::{Fault, FaultProxy, Target};
use crate::support::process::wait;
use crate::support::redis::{Address, Redis};
use crate::support::redis_cluster::RedisCluster;

const SHORT: Duration = Duration::from_millis(200);

async fn set(redis: &Redis, key: &str, value: &str) -> RedisResult<()> {
    redis.ask(redis::cmd("SET").arg(key).arg(value)).await
}

async fn get(redis: &Redis, key: &str) -> RedisResult<Option<String>> {
    redis.ask(redis::cmd("GET").arg(key)).await
}

#[tokio::test]
async fn a_redis_that_was_killed_returns_with_what_it_is_given() {
    let redis = Redis::start().await;
    set(&redis, "stone", "old").await.expect("set");
    let dump = redis.dump().await;
    set(&redis, "stone", "new").await.expect("set");
    redis.kill();
    assert!(get(&redis, "stone").await.is_err());
    redis.restart_from(&dump).await;
    assert_eq!(get(&redis, "stone").await, Ok(Some("old".into())));
    redis.flush_all().await;
    assert_eq!(get(&redis, "stone").await, Ok(None));
    redis.pause();
    assert!(tokio::time::timeout(SHORT, get(&redis, "stone")).await.is_err());
    redis.resume();
    assert_eq!(get(&redis, "stone").await, Ok(None));
}

#[tokio::test]
async fn a_redis_lets_in_those_it_knows() {
    let secret = Redis::with_password("heron").await;
    assert_eq!(set(&secret, "stone", "grey").await, Ok(()));
    let stranger = redis::Client::open(format!("redis://127.0.0.1:{}", secret.port())).expect("a URL");
    let mut stranger = stranger.get_multiplexed_async_connection().await.expect("connects");
    assert!(redis::cmd("PING").query_async::<()>(&mut stranger).await.is_err());

    let limited = Redis::with_user("ada", "heron", "~cairn:* +@all").await;
    assert_eq!(set(&limited, "cairn:stone", "grey").await, Ok(()));
    assert!(set(&limited, "stone", "grey").await.is_err());
}

#[tokio::test]
async fn a_socket_can_be_reached_through_a_port() {
    let redis = Redis::on_socket().await;
    assert_eq!(set(&redis, "stone", "grey").await, Ok(()));
    let Address::Socket(socket) = &redis.address else { panic!("no socket: {:?}", redis.address) };
    let proxy = FaultProxy::start(Target::Socket(socket.clone())).await;
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", proxy.port)).expect("a URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("connects");
    assert_eq!(redis::cmd("GET").arg("stone").query_async(&mut connection).await, Ok("grey".to_owned()));
}

#[tokio::test]
async fn a_replica_has_what_its_master_has_and_takes_no_writes() {
    let master = Redis::start_with(&["--maxmemory", "100mb"]).await;
    set(&master, "stone", "grey").await.expect("set");
    let replica = master.replica().await;
    assert_eq!(get(&replica, "stone").await, Ok(Some("grey".into())));
    assert!(set(&replica, "stone", "green").await.is_err());
}

#[tokio::test]
async fn a_replica_takes_over_what_its_master_served() {
    let cluster = RedisCluster::start().await;
    assert_eq!(cluster.url().split(',').count(), 6);
    assert_eq!(cluster.masters().await.len(), 3);
    let replica = cluster.replicas().await[0];
    cluster.take_over(replica).await.expect("it takes over");
    wait("there are three masters again", async || cluster.masters().await.len() == 3).await;
    cluster.wait_until_whole().await;
    assert!(cluster.masters().await.iter().any(|master| master.port() == replica.port()));
}

/// Sends a byte back for each that it gets.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = connection.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    port
}

/// What becomes of a byte: it returns, the connection ends, or nothing happens for a while.
async fn send(connection: &mut TcpStream) -> &'static str {
    let mut byte = [7];
    if connection.write_all(&byte).await.is_err() {
        return "ended";
    }
    match tokio::time::timeout(SHORT, connection.read(&mut byte)).await {
        Err(_) => "lost",
        Ok(Ok(1)) => "returned",
        Ok(_) => "ended",
    }
}

#[tokio::test]
async fn a_fault_concerns_old_and_new_connections_and_heals() {
    let proxy = FaultProxy::start(Target::Port(echo().await)).await;
    for (fault, expected) in [
        (Fault::Refuse, "ended"),
        (Fault::Reset, "ended"),
        (Fault::BlackHole, "lost"),
        (Fault::LoseAnswers, "lost"),
        (Fault::Latency(Duration::from_millis(1)), "returned"),
        (Fault::Delay(Duration::from_millis(1)), "returned"),
    ] {
        proxy.set(Fault::Pass);
        let connect = async || TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connects");
        let mut old = connect().await;
        assert_eq!(send(&mut old).await, "returned");
        proxy.set(fault);
        assert_eq!(send(&mut old).await, expected, "{fault:?}");
        let mut new = connect().await;
        assert_eq!(send(&mut new).await, expected, "{fault:?}");
        proxy.set(Fault::Pass);
        let healed = if expected == "returned" { "returned" } else { "ended" };
        assert_eq!((send(&mut old).await, send(&mut new).await), (healed, healed), "{fault:?}");
        assert_eq!(send(&mut connect().await).await, "returned");
    }
    assert_eq!(proxy.connections(), 18);
    assert!(proxy.bytes() >= 26);
}

#[tokio::test]
async fn latency_is_random_up_to_its_most() {
    let proxy = FaultProxy::start(Target::Port(echo().await)).await;
    proxy.set(Fault::Latency(Duration::from_millis(100)));
    let mut connection = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connects");
    let started = Instant::now();
    for _ in 0..10 {
        assert_eq!(send(&mut connection).await, "returned");
    }
    assert!(started.elapsed() > Duration::from_millis(100), "{:?}", started.elapsed());
}
