//! What happens to Redis itself.

use std::time::Duration;

use deadpool_redis::redis::cmd;
use reqwest::Method;
use serde_json::json;

use super::load::Load;
use super::log::Log;
use super::scene::{Instance, Scene};
use super::trial::{Form, Loses, Trial};
use crate::support::process::wait;
use crate::support::redis::Redis;

const PATIENCE: Duration = Duration::from_secs(10);
/// Of all three instances.
const ALL: &[usize] = &[0, 1, 2];

async fn set(redis: &Redis, name: &str, value: &str) {
    redis.ask::<()>(cmd("CONFIG").arg(&["SET", name, value])).await.expect("it is set");
}

/// Redis is not there, or not to be had, from the start.
async fn survives_from_the_start(redis: &Redis, credentials: &str, heals: impl AsyncFnOnce(), log: Log) {
    let scene = Scene::with(redis.port(), credentials, Form::FAST.deadline, log).await;
    let trial = Trial { scene: &scene, form: Form::FAST, hurt: ALL, loses: Loses::Calls };
    let probes = async |index: usize| scene.instances[index].way.connections();
    trial.run(async |_: &mut Load| {}, probes, heals).await;
}

#[test]
fn a_redis_that_is_not_there_at_the_start_is_found_when_it_comes() {
    Log::of(async |log| {
        let redis = Redis::start().await;
        redis.kill();
        survives_from_the_start(&redis, "", async || redis.restart().await, log).await;
    });
}

#[test]
fn a_wrong_password_is_as_good_as_no_redis_and_stays_out_of_the_log() {
    Log::of(async |log| {
        let redis = Redis::with_password("heron").await;
        // The other way round, since nobody tells the instances another one.
        let heals = async || set(&redis, "requirepass", "kettle").await;
        survives_from_the_start(&redis, ":kettle@", heals, log.clone()).await;
        assert!(log.with("heron").is_empty() && log.with("kettle").is_empty());
    });
}

#[test]
fn a_password_that_is_missing_is_one_line_of_the_log() {
    Log::of(async |log| {
        let redis = Redis::with_password("heron").await;
        survives_from_the_start(&redis, "", async || set(&redis, "requirepass", "").await, log).await;
    });
}

#[test]
fn a_user_who_may_not_subscribe_has_the_caches_all_the_same() {
    Log::of(async |log| {
        let redis = Redis::with_user("ada", "heron", "~cairn:* +@all resetchannels").await;
        let scene = Scene::with(redis.port(), "ada:heron@", Form::FAST.deadline, log.clone()).await;
        scene.wait_for_hits(PATIENCE).await;
        let mut load = Load::start(4, &scene.clients(), "use");
        // Long enough for more than one attempt.
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(load.take().iter().any(|sample| sample.source.starts_with("hit; layer=redis")));
        assert_eq!(log.with("Redis lets nobody subscribe").len(), ALL.len(), "{:#?}", log.with("Redis"));
        assert_eq!(log.with("Redis").len(), ALL.len(), "{:#?}", log.with("Redis"));
    });
}

#[test]
fn a_redis_that_is_killed_is_done_without_until_it_is_back() {
    Log::of(async |log| {
        let redis = Redis::start().await;
        let scene = Scene::with(redis.port(), "", Form::FAST.deadline, log).await;
        scene.wait_for_hits(PATIENCE).await;
        let trial = Trial { scene: &scene, form: Form::FAST, hurt: ALL, loses: Loses::Calls };
        let probes = async |index: usize| scene.instances[index].way.connections();
        trial.run(async |_: &mut Load| redis.kill(), probes, async || redis.restart().await).await;
    });
}

/// Redis keeps nothing new, and what it has is still read.
async fn goes_on_reading(redis: &Redis, hurts: impl AsyncFnOnce(), heals: impl AsyncFnOnce(), log: Log) {
    let scene = Scene::with(redis.port(), "", Form::FAST.deadline, log).await;
    scene.wait_for_hits(PATIENCE).await;
    assert_eq!(scene.instances[0].source("What happens?").await, "miss");
    let trial = Trial { scene: &scene, form: Form::FAST, hurt: ALL, loses: Loses::Stores };
    // Of all instances together, so of each at most.
    let probes = async |_: usize| refused(redis).await / ALL.len() as u64;
    let heals = async || {
        let source = scene.instances[1].source("What happens?").await;
        assert!(source.starts_with("hit; layer=redis"), "{source}");
        heals().await;
    };
    trial.run(async |_: &mut Load| hurts().await, probes, heals).await;
}

/// How many SET commands were refused.
async fn refused(redis: &Redis) -> u64 {
    let statistics: String = redis.ask(cmd("INFO").arg("commandstats")).await.expect("statistics");
    let line = statistics.lines().find(|line| line.starts_with("cmdstat_set:")).expect("SET was called");
    let count = line.split(',').find_map(|field| field.strip_prefix("rejected_calls=")).expect("a count");
    count.parse().expect("a number")
}

#[test]
fn a_redis_without_room_that_evicts_nothing_is_still_read() {
    Log::of(async |log| {
        let redis = Redis::start_with(&["--maxmemory", "100mb", "--maxmemory-policy", "noeviction"]).await;
        let hurts = async || set(&redis, "maxmemory", "1mb").await;
        goes_on_reading(&redis, hurts, async || set(&redis, "maxmemory", "100mb").await, log).await;
    });
}

#[test]
fn a_replica_that_takes_no_writes_is_still_read() {
    Log::of(async |log| {
        let master = Redis::start().await;
        let replica = master.replica().await;
        set(&replica, "replica-read-only", "no").await;
        let hurts = async || set(&replica, "replica-read-only", "yes").await;
        let promoted = async || replica.ask::<()>(cmd("REPLICAOF").arg("NO").arg("ONE")).await.expect("promoted");
        goes_on_reading(&replica, hurts, promoted, log).await;
    });
}

#[test]
fn a_redis_that_is_wiped_is_filled_again_without_a_word() {
    Log::of(async |log| {
        let redis = Redis::start().await;
        let scene = Scene::with(redis.port(), "", Form::FAST.deadline, log.clone()).await;
        scene.wait_for_hits(PATIENCE).await;
        let mut load = Load::start(4, &scene.clients(), "use");
        for _ in 0..10 {
            redis.flush_all().await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            load.take();
        }
        scene.wait_for_hits(PATIENCE).await;
        for instance in &scene.instances {
            assert_eq!(instance.readiness().await["ok"], true);
        }
        assert_eq!(log.with("Redis"), [""; 0]);
    });
}

/// What agent `ada` is found to remember, and where the answer came from.
async fn known(instance: &Instance) -> (String, String) {
    let request = instance.client.request(Method::POST, "/v1/agents/ada/recall");
    let answer = instance.client.send(request.json(&json!({"query": "Where is the key?"}))).await;
    let content = answer.expect(200)["results"][0]["memory"]["content"].as_str().expect("content").to_owned();
    (content, answer.header("cairn-cache").to_owned())
}

#[test]
fn a_redis_that_is_restored_from_an_old_dump_brings_back_no_old_answer() {
    Log::of(async |log| {
        let redis = Redis::start().await;
        let scene = Scene::with(redis.port(), "", Form::FAST.deadline, log).await;
        scene.wait_for_hits(PATIENCE).await;
        let memory = scene.tenant.remember("ada", "The key is under the mat.").await;
        known(&scene.instances[0]).await;
        let stored = cmd("KEYS").arg("*:rag:agent:ada:*").take();
        wait("the answer is stored", async || !redis.ask::<Vec<String>>(&stored).await.expect("keys").is_empty()).await;
        let dump = redis.dump().await;
        let path = format!("/v1/memories/{}", memory["id"].as_str().expect("an id"));
        scene.tenant.patch(&path, json!({"content": "The key is in the shed."})).await.expect(200);

        let mut load = Load::start(4, &scene.clients(), "use");
        redis.kill();
        redis.restart_from(&dump).await;
        scene.wait_for_hits(PATIENCE).await;
        let before = stale(&scene.instances[2]).await;
        // It has asked nothing before, and finds what the dump brought back.
        let (content, source) = known(&scene.instances[2]).await;
        assert_eq!((content.as_str(), source.as_str()), ("The key is in the shed.", "miss"));
        assert!(stale(&scene.instances[2]).await > before, "the old answer was there");
        assert!(!load.take().is_empty());
    });
}

/// How many answers in Redis were found to be older than the last change.
async fn stale(instance: &Instance) -> u64 {
    let statistics = instance.client.get("/v1/cache/stats").await.expect(200);
    let kinds = statistics["kinds"].as_array().expect("kinds");
    let recall = kinds.iter().find(|kind| kind["kind"] == "recall").expect("recalls are counted");
    recall["layers"][1]["stale"].as_u64().expect("a count")
}
