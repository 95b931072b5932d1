//! Events free memory early: what they say has changed is dropped here and in Redis. Two subscribers, because
//! Redis may be slow, and what is dropped here must not wait for that.

use std::sync::Arc;

use strum::VariantArray;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::cache::{Cache, Kind};
use crate::events::{Bus, Delivery, Event, Notice, Origin, Subscription};
use crate::ids::TenantId;
use crate::redis::{Redis, Unavailable};

/// Starts to listen; the tasks end when the bus is closed and what was queued is done.
pub fn follow(cache: &Cache, bus: &Bus, runtime: &Handle) -> Vec<JoinHandle<()>> {
    let mut tasks = vec![runtime.spawn(evict(cache.clone(), bus.subscribe("cache")))];
    if let Some(redis) = cache.redis().cloned() {
        tasks.push(runtime.spawn(delete(cache.clone(), redis, bus.subscribe("redis"))));
    }
    tasks
}

/// In this process, whoever made the change.
async fn evict(cache: Cache, mut heard: Subscription) {
    while let Some(delivery) = heard.next().await {
        match delivery {
            Delivery::Notice(notice) => evict_one(&cache, &notice),
            // Nobody knows what was in them.
            Delivery::Lagged(lost) => {
                tracing::warn!(lost, "events came too fast: the local cache starts anew");
                cache.clear_local();
            }
        }
    }
}

fn evict_one(cache: &Cache, notice: &Notice) {
    match &notice.event {
        Event::CacheFlushed { kinds, whole: true } => cache.evict_kinds(notice.tenant, &named(kinds)),
        Event::TenantErased => cache.forget_tenant(notice.tenant),
        Event::CacheStatsReset => cache.stats().reset(notice.tenant),
        _ => cache.evict_scopes(notice.tenant, &notice.scopes, notice.origin == Origin::Here),
    }
}

/// In Redis, by the instance that made the change.
async fn delete(cache: Cache, redis: Redis, mut heard: Subscription) {
    while let Some(delivery) = heard.next().await {
        let notice = match delivery {
            Delivery::Notice(notice) if notice.origin == Origin::Here => notice,
            // What was lost is deleted by time.
            _ => continue,
        };
        delete_one(&cache, &redis, notice).await;
    }
}

/// Embeddings are flushed by a new secret, and nothing that was named with the old one is found again.
fn named(kinds: &[String]) -> Vec<Kind> {
    let all = kinds.iter().any(|kind| kind == Kind::Embedding.name());
    Kind::VARIANTS.iter().copied().filter(|kind| all || kinds.iter().any(|name| name == kind.name())).collect()
}

async fn clear(cache: &Cache, redis: &Redis, tenant: TenantId, kinds: &[Kind]) -> Result<u64, Unavailable> {
    if kinds.len() == Kind::VARIANTS.len() {
        return redis.clear(&cache.prefix_of(tenant)).await;
    }
    let mut deleted = 0;
    for kind in kinds {
        deleted += redis.clear(&format!("{}{}", cache.prefix_of(tenant), kind.namespace())).await?;
    }
    Ok(deleted)
}

async fn delete_one(cache: &Cache, redis: &Redis, notice: Arc<Notice>) {
    let done = match &notice.event {
        Event::CacheFlushed { kinds, whole: true } => clear(cache, redis, notice.tenant, &named(kinds)).await,
        Event::TenantErased => clear(cache, redis, notice.tenant, Kind::VARIANTS).await,
        _ if notice.scopes.is_empty() => return,
        _ => {
            let indexes = notice.scopes.iter().map(|scope| cache.index(notice.tenant, *scope)).collect();
            redis.delete_indexed(indexes).await
        }
    };
    match done {
        Ok(entries) => tracing::debug!(event = notice.event.name(), entries, "deleted from Redis"),
        Err(cause) => tracing::debug!(event = notice.event.name(), %cause, "left in Redis until it expires"),
    }
}
