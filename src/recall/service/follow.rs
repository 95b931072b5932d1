//! Events that scopes in memory heed. An index is right without any; they let go early of what is of no use.

use std::sync::Arc;
use std::time::Duration;

use crate::app::Ending;
use crate::events::{Delivery, Event, Notice, Subscription};
use crate::recall::index::HotScopes;

/// Lets go of scopes that are gone, and of those that somebody wants flushed.
pub async fn follow(index: Arc<HotScopes>, mut heard: Subscription, mut ending: Ending) {
    loop {
        tokio::select! {
            delivery = heard.next() => match delivery {
                Some(Delivery::Notice(notice)) => heed(&index, &notice),
                Some(Delivery::Lagged(_)) => {}
                None => return,
            },
            _ = ending.within(Duration::MAX) => return,
        }
    }
}

fn heed(index: &HotScopes, notice: &Notice) {
    match notice.event {
        Event::AgentDeleted { .. } | Event::CircleDeleted { .. } => index.drop(&notice.scopes),
        Event::CacheFlushed { whole: false, .. } => index.drop(&notice.scopes),
        Event::CacheFlushed { whole: true, .. } | Event::TenantErased => index.drop_all_of(notice.tenant),
        _ => {}
    }
}
