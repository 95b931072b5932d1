//! The bus of one process. Publishing never waits: a subscriber that falls behind loses the oldest notices and
//! is told how many.

use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{IntCounterVec, Opts};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};

use crate::events::Notice;

/// Notices that a subscriber may be behind.
const QUEUED: usize = 4_096;

#[derive(Clone)]
pub struct Bus {
    sender: broadcast::Sender<Arc<Notice>>,
    closed: watch::Sender<bool>,
    published: IntCounterVec,
    lagged: IntCounterVec,
}

/// What a subscriber gets.
#[derive(Debug)]
pub enum Delivery {
    Notice(Arc<Notice>),
    /// So many notices were lost to it, because it was too slow.
    Lagged(u64),
}

/// A place in the audience, with a queue of its own.
pub struct Subscription {
    name: &'static str,
    receiver: broadcast::Receiver<Arc<Notice>>,
    closed: watch::Receiver<bool>,
    lagged: IntCounterVec,
}

impl Bus {
    pub fn new() -> anyhow::Result<Self> {
        let counter = |name, help, label| IntCounterVec::new(Opts::new(name, help), &[label]);
        Ok(Self {
            sender: broadcast::Sender::new(QUEUED),
            closed: watch::Sender::new(false),
            published: counter("cairn_events_total", "Events published, by name.", "event")?,
            lagged: counter("cairn_events_lagged_total", "Events lost to slow subscribers.", "subscriber")?,
        })
    }

    /// Tells all subscribers; that there is none is no error.
    pub fn publish(&self, notice: Notice) {
        self.published.with_label_values(&[notice.event.name()]).inc();
        if !*self.closed.borrow() {
            self.sender.send(Arc::new(notice)).ok();
        }
    }

    /// Hears what is published from now on.
    pub fn subscribe(&self, name: &'static str) -> Subscription {
        Subscription {
            name,
            receiver: self.sender.subscribe(),
            closed: self.closed.subscribe(),
            lagged: self.lagged.clone(),
        }
    }

    /// Takes no more; subscribers get what is queued, then the end.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// What it counts about itself.
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![Box::new(self.published.clone()), Box::new(self.lagged.clone())]
    }
}

impl Subscription {
    /// The next notice; none when the bus is closed and the queue empty.
    pub async fn next(&mut self) -> Option<Delivery> {
        let received = tokio::select! {
            biased;
            received = self.receiver.recv() => received,
            _ = self.closed.wait_for(|closed| *closed) => self.receiver.try_recv().map_err(|error| match error {
                TryRecvError::Lagged(lost) => RecvError::Lagged(lost),
                TryRecvError::Empty | TryRecvError::Closed => RecvError::Closed,
            }),
        };
        match received {
            Ok(notice) => Some(Delivery::Notice(notice)),
            Err(RecvError::Lagged(lost)) => {
                self.lagged.with_label_values(&[self.name]).inc_by(lost);
                Some(Delivery::Lagged(lost))
            }
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Event, Origin};
    use crate::ids::TenantId;

    fn notice() -> Notice {
        Notice { tenant: TenantId::new(), scopes: Vec::new(), event: Event::TenantUpdated, origin: Origin::Here }
    }

    #[tokio::test]
    async fn a_slow_subscriber_holds_up_nobody_and_learns_what_it_lost() {
        let bus = Bus::new().expect("a bus");
        let (mut slow, mut quick) = (bus.subscribe("slow"), bus.subscribe("quick"));
        for _ in 0..QUEUED + 10 {
            bus.publish(notice());
            assert!(matches!(quick.next().await, Some(Delivery::Notice(_))));
        }
        assert!(matches!(slow.next().await, Some(Delivery::Lagged(10))));
        assert!(matches!(slow.next().await, Some(Delivery::Notice(_))));
        assert_eq!(bus.lagged.with_label_values(&["slow"]).get(), 10);
        assert_eq!(bus.lagged.with_label_values(&["quick"]).get(), 0);
    }

    #[tokio::test]
    async fn what_is_queued_at_the_end_is_still_delivered() {
        let bus = Bus::new().expect("a bus");
        let mut subscription = bus.subscribe("test");
        bus.publish(notice());
        bus.publish(notice());
        bus.close();
        bus.publish(notice());
        assert!(matches!(subscription.next().await, Some(Delivery::Notice(_))));
        assert!(matches!(subscription.next().await, Some(Delivery::Notice(_))));
        assert!(subscription.next().await.is_none());
    }
}
