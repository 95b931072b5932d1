//! What is counted of the calls to Redis, in the names of Prometheus.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, PullingGauge};

use super::breaker::{Breaker, Of};
use super::pool::Pool;

const COMMANDS: [&str; 9] = ["get", "put", "delete", "delete_indexed", "publish", "clear", "probe", "take", "beat"];
const OUTCOMES: [&str; 5] = ["answered", "refused", "slow", "failed", "resting"];

pub struct Metrics {
    calls: IntCounterVec,
    breaker_open: IntGaugeVec,
    breaker_opened: IntCounterVec,
    connections: PullingGauge,
    /// Messages of a subscription, by what became of them.
    messages: IntCounterVec,
}

impl Metrics {
    pub fn new(pool: Pool) -> anyhow::Result<Self> {
        let calls = Opts::new("cairn_redis_calls_total", "Calls to Redis; resting ones were not even made.");
        let calls = IntCounterVec::new(calls, &["command", "outcome"])?;
        for command in COMMANDS {
            for outcome in OUTCOMES {
                calls.with_label_values(&[command, outcome]);
            }
        }
        let messages = Opts::new("cairn_redis_messages_total", "Messages that came by subscription.");
        let messages = IntCounterVec::new(messages, &["outcome"])?;
        for outcome in ["received", "dropped"] {
            messages.with_label_values(&[outcome]);
        }
        let open = Opts::new("cairn_redis_breaker_open", "1 while calls to Redis are kept back: all, or stores alone.");
        let opened = Opts::new("cairn_redis_breaker_opened_total", "How often calls to Redis came to be kept back.");
        Ok(Self {
            calls,
            breaker_open: IntGaugeVec::new(open, &["calls"])?,
            breaker_opened: IntCounterVec::new(opened, &["calls"])?,
            connections: PullingGauge::new(
                "cairn_redis_connections",
                "Connections to Redis in the pool.",
                Box::new(move || pool.size() as f64),
            )?,
            messages,
        })
    }

    pub fn breaker(&self, of: Of) -> Breaker {
        let label = match of {
            Of::Calls => "all",
            Of::Stores => "stores",
        };
        let (open, opened) =
            (self.breaker_open.with_label_values(&[label]), self.breaker_opened.with_label_values(&[label]));
        Breaker::closed(of, open, opened)
    }

    pub fn called(&self, command: &str, outcome: &str) {
        self.calls.with_label_values(&[command, outcome]).inc();
    }

    pub fn messages(&self, outcome: &str) -> IntCounter {
        self.messages.with_label_values(&[outcome])
    }

    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.calls.clone()),
            Box::new(self.breaker_open.clone()),
            Box::new(self.breaker_opened.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.messages.clone()),
        ]
    }
}
