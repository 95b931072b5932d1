//! What happens between the instances and a Redis that works.

use std::time::Duration;

use super::load::Load;
use super::log::Log;
use super::scene::Scene;
use super::trial::{Form, Loses, Trial};
use crate::support::fault::Fault;
use crate::support::redis::Redis;

/// The instances named lose their way to Redis, and get it back.
async fn survives(form: Form, hurt: &[usize], fault: Fault, log: Log) {
    let redis = Redis::start().await;
    let scene = Scene::with(redis.port(), "", form.deadline, log).await;
    scene.wait_for_hits(Duration::from_secs(10)).await;
    let set = |fault: Fault| hurt.iter().for_each(|index| scene.instances[*index].way.set(fault));
    let hurts = async |load: &mut Load| {
        // Both layers have hits, or there would be nothing to lose.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let samples = load.take();
        for source in ["miss", "hit; layer=local", "hit; layer=redis"] {
            assert!(samples.iter().any(|sample| sample.source.starts_with(source)), "no {source}: {samples:?}");
        }
        set(fault);
    };
    let trial = Trial { scene: &scene, form, hurt, loses: Loses::Calls };
    let probes = async |index: usize| scene.instances[index].way.connections();
    trial.run(hurts, probes, async || set(Fault::Pass)).await;
}

#[test]
fn a_redis_that_accepts_and_never_answers_is_done_without() {
    Log::of(async |log| survives(Form::FAST, &[0, 1, 2], Fault::BlackHole, log).await);
}

#[test]
fn a_redis_that_takes_two_seconds_is_done_without() {
    Log::of(async |log| survives(Form::FAST, &[0, 1, 2], Fault::Delay(Duration::from_secs(2)), log).await);
}

#[test]
fn a_redis_that_resets_connections_is_done_without() {
    Log::of(async |log| survives(Form::FAST, &[0, 1, 2], Fault::Reset, log).await);
}

#[test]
fn an_instance_that_is_cut_off_from_redis_is_as_right_as_the_others() {
    Log::of(async |log| survives(Form::FAST, &[0], Fault::BlackHole, log).await);
}

#[test]
#[ignore = "half a minute, on a machine that does nothing else"]
fn a_redis_that_never_answers_costs_30_ms_at_most() {
    Log::of(async |log| survives(Form::STRICT, &[0, 1, 2], Fault::BlackHole, log).await);
}
