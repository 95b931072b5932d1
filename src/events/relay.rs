//! The relay between instances: what happens here is published in Redis, what happened elsewhere is put on the
//! bus. While Redis is away, instances do not hear of each other, and no answer is the worse for it.

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::events::{Bus, Delivery, Notice, Origin, Subscription};
use crate::redis::Redis;

/// Starts to relay over this channel; the task ends when the bus is closed and what was queued is sent.
pub fn relay(bus: &Bus, redis: Redis, channel: String, runtime: &Handle) -> JoinHandle<()> {
    let (bus, outgoing, instance) = (bus.clone(), bus.subscribe("relay"), Uuid::now_v7());
    runtime.spawn(async move {
        tokio::select! {
            () = send(outgoing, &redis, &channel, instance) => {}
            () = receive(&bus, &redis, &channel, instance) => {}
        }
    })
}

async fn send(mut outgoing: Subscription, redis: &Redis, channel: &str, instance: Uuid) {
    while let Some(delivery) = outgoing.next().await {
        let Delivery::Notice(notice) = delivery else { continue };
        if notice.origin != Origin::Here {
            continue;
        }
        match notice.to_message(instance) {
            // Whoever does not hear of it compares stamps, as always.
            Ok(message) => drop(redis.publish(channel, message).await),
            Err(error) => tracing::error!(%error, "an event cannot be written down"),
        }
    }
}

/// Never ends by itself.
async fn receive(bus: &Bus, redis: &Redis, channel: &str, instance: Uuid) {
    let mut messages = redis.subscribe(channel);
    while let Some(message) = messages.recv().await {
        if let Some(notice) = Notice::from_message(&message, instance) {
            bus.publish(notice);
        }
    }
    std::future::pending().await
}
