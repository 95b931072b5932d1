//! The same on a cluster: keys live wherever their hashes put them.

use std::time::Duration;

use cairn::config;
use cairn::redis::{Put, Redis};
use deadpool_redis::redis::cmd;
use tokio::runtime::Handle;

use super::{get, put, settings};
use crate::support::process::wait;
use crate::support::redis_cluster::RedisCluster;

fn open(cluster: &RedisCluster) -> Redis {
    let settings = config::Cache { redis_cluster: true, ..settings() };
    Redis::open(&settings, &cluster.url(), Handle::current()).expect("good URLs")
}

async fn sizes(cluster: &RedisCluster) -> Vec<u64> {
    let mut sizes = Vec::new();
    for master in cluster.masters().await {
        sizes.push(master.ask(&cmd("DBSIZE")).await.expect("a size"));
    }
    sizes
}

#[tokio::test]
async fn keys_of_all_slots_are_put_and_got_listed_deleted_and_cleared() {
    let cluster = RedisCluster::start().await;
    let redis = open(&cluster);
    let key = |n: u32| format!("cairn:{n}");
    let value = |n: u32| Some(format!("v{n}").into_bytes());
    let of = |n: u32| Put { indexes: vec![format!("cairn:index:{}", n % 3)], ..put(&key(n), &format!("v{n}")) };
    redis.put((0..2_000).map(of).collect()).await.expect("they are kept");
    let sizes_before = sizes(&cluster).await;
    assert!(sizes_before.len() == 3 && sizes_before.iter().all(|size| *size > 400), "{sizes_before:?}");
    let values = redis.get((0..2_001).map(key).collect()).await.expect("an answer");
    let expected: Vec<_> = (0..2_000).map(value).chain([None]).collect();
    assert_eq!(values, expected);
    assert_eq!(redis.delete(vec![key(0), key(1), key(9_999)]).await, Ok(2));
    assert_eq!(redis.delete_indexed(vec!["cairn:index:2".to_owned(), "cairn:index:7".to_owned()]).await, Ok(666));
    assert_eq!(get(&redis, &key(2)).await, Ok(None));
    redis.put((0..100).map(|n| put(&format!("other:{n}"), "v")).collect()).await.expect("they are kept");
    // 1,332 entries and two indexes.
    assert_eq!(redis.clear("cairn:").await, Ok(1_334));
    assert_eq!(sizes(&cluster).await.iter().sum::<u64>(), 100);
}

#[tokio::test]
async fn what_is_published_on_one_node_reaches_who_subscribed_at_another() {
    let cluster = RedisCluster::start().await;
    let (one, other) = (open(&cluster), open(&cluster));
    let mut messages = one.subscribe("cairn:events");
    for _ in 0..100 {
        other.publish("cairn:events", b"hello".to_vec()).await.expect("it is published");
        if let Ok(message) = tokio::time::timeout(Duration::from_millis(100), messages.recv()).await {
            return assert_eq!(message.as_deref(), Some(&b"hello"[..]));
        }
    }
    panic!("nothing was heard");
}

#[tokio::test]
async fn a_node_that_dies_is_replaced_by_its_replica() {
    let cluster = RedisCluster::start().await;
    let redis = open(&cluster);
    let keys: Vec<String> = (0..50).map(|n| format!("cairn:{n}")).collect();
    redis.put(keys.iter().map(|key| put(key, "v")).collect()).await.expect("they are kept");
    cluster.nodes[0].kill();
    let replica = &cluster.nodes[3];
    wait("the replica takes over", async || cluster.take_over(replica).await.is_ok()).await;
    wait("all is written and read again", async || {
        let puts = keys.iter().map(|key| put(key, "w")).collect();
        redis.put(puts).await.is_ok()
            && redis
                .get(keys.clone())
                .await
                .is_ok_and(|values| values.iter().all(|value| value.as_deref() == Some(b"w")))
    })
    .await;
    assert!(redis.state().ok, "{:?}", redis.state());
}

#[tokio::test]
async fn a_cluster_that_is_down_rests_and_is_found_again() {
    let cluster = RedisCluster::start().await;
    let redis = open(&cluster);
    redis.put(vec![put("a", "1")]).await.expect("it is kept");
    cluster.nodes.iter().for_each(|node| node.pause());
    wait("it opens", async || get(&redis, "a").await.is_err() && redis.state().breaker != "closed").await;
    cluster.nodes.iter().for_each(|node| node.resume());
    wait("it closes", async || redis.state().ok).await;
    wait("what it had is there", async || get(&redis, "a").await == Ok(Some("1".to_owned()))).await;
}
