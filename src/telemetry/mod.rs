//! What the server tells about itself: its log, its metrics, its traces. Knows no feature; who measures names the
//! metric.

mod collector;
mod latency;
mod log;
mod metrics;
mod process;
mod stages;
mod traces;

pub use latency::Latencies;
pub use log::{init, init_quietly};
pub use metrics::{InFlight, Metrics, counters, durations};
pub use stages::{Stage, Stages};
pub use traces::{Trace, Traces, call_span, inject};
