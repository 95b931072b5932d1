//! The bus of one process. Publishing never waits: a subscriber that falls behind loses the oldest notices and
//! is told how many.

use std::sync::Arc;
use std::time::Instant;

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};

use crate::events::Notice;
use crate::telemetry::{counters, durations};

/// Notices that a subscriber may be behind.
const QUEUED: usize = 4_096;

#[derive(Clone)]
pub struct Bus {
    sender: broadcast::Sender<Published>,
    closed: watch::Sender<bool>,
    published: IntCounterVec,
    delays: HistogramVec,
    lagged: IntCounterVec,
}

#[derive(Clone)]
struct Published {
    at: Instant,
    notice: Arc<Notice>,
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
    receiver: broadcast::Receiver<Published>,
    closed: watch::Receiver<bool>,
    delays: Histogram,
    lagged: IntCounter,
}

impl Bus {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            sender: broadcast::Sender::new(QUEUED),
            closed: watch::Sender::new(false),
            published: counters("cairn_events_total", "Events published, by name.", &["event"])?,
            delays: durations(
                "cairn_event_delivery_seconds",
                "Time from the publication of an event in this process to its delivery, by subscriber.",
                &["subscriber"],
            )?,
            lagged: counters("cairn_events_lagged_total", "Events lost to slow subscribers.", &["subscriber"])?,
        })
    }

    /// Tells all subscribers; that there is none is no error.
    pub fn publish(&self, notice: Notice) {
        self.published.with_label_values(&[notice.event.name()]).inc();
        if !*self.closed.borrow() {
            self.sender.send(Published { at: Instant::now(), notice: Arc::new(notice) }).ok();
        }
    }

    /// Hears what is published from now on.
    pub fn subscribe(&self, name: &'static str) -> Subscription {
        Subscription {
            receiver: self.sender.subscribe(),
            closed: self.closed.subscribe(),
            delays: self.delays.with_label_values(&[name]),
            lagged: self.lagged.with_label_values(&[name]),
        }
    }

    /// Takes no more; subscribers get what is queued, then the end.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// What it counts about itself.
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![Box::new(self.published.clone()), Box::new(self.delays.clone()), Box::new(self.lagged.clone())]
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
            Ok(Published { at, notice }) => {
                self.delays.observe(at.elapsed().as_secs_f64());
                Some(Delivery::Notice(notice))
            }
            Err(RecvError::Lagged(lost)) => {
                self.lagged.inc_by(lost);
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
        assert_eq!(bus.delays.with_label_values(&["quick"]).get_sample_count(), QUEUED as u64 + 10);
        assert_eq!(bus.delays.with_label_values(&["slow"]).get_sample_count(), 1);
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
