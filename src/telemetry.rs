//! The log subscriber and the metrics registry. Knows no feature; who measures names the metric.

use std::io::IsTerminal;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::{BoxMakeWriter, MakeWriterExt};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};

/// Starts logging for the whole process, to standard error, so that standard output stays for results.
pub fn init(log: &Log) -> anyhow::Result<()> {
    init_to(log, BoxMakeWriter::new(std::io::stderr))
}

/// The same for measurements: every line is made, so that its cost is measured, and only warnings are shown.
pub fn init_quietly(log: &Log) -> anyhow::Result<()> {
    init_to(log, BoxMakeWriter::new(std::io::stderr.with_max_level(Level::WARN).or_else(std::io::sink)))
}

fn init_to(log: &Log, writer: BoxMakeWriter) -> anyhow::Result<()> {
    let mut filter = EnvFilter::try_new(&log.filter)?;
    if !log.filter.contains("actix_server") {
        // The server below ours talks about its threads.
        filter = filter.add_directive("actix_server=warn".parse()?);
    }
    if !log.filter.contains("actix_http") {
        // It calls a request that is no HTTP an error, and any stranger can send one.
        filter = filter.add_directive("actix_http=off".parse()?);
    }
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false);
    if json {
        registry.with(layer.json().flatten_event(true).with_current_span(false).with_span_list(false)).init();
    } else {
        registry.with(layer).init();
    }
    Ok(())
}

/// Seconds; a hit should take fractions of a millisecond, a batch of memories minutes.
const DURATION_BUCKETS: [f64; 16] =
    [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0, 300.0];

/// What the server counts about itself, in the names and units of Prometheus.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    connections: IntGaugeVec,
}

impl Metrics {
    pub fn new() -> anyhow::Result<Self> {
        let labels = ["method", "route", "status"];
        let requests = IntCounterVec::new(Opts::new("cairn_http_requests_total", "Requests answered."), &labels)?;
        let durations = HistogramVec::new(
            HistogramOpts::new("cairn_http_request_duration_seconds", "Time from the head of a request to its answer.")
                .buckets(DURATION_BUCKETS.to_vec()),
            &["method", "route"],
        )?;
        let connections = IntGaugeVec::new(
            Opts::new("cairn_database_connections", "Connections by pool and state (idle, used, max)."),
            &["pool", "state"],
        )?;
        let registry = Registry::new();
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        registry.register(Box::new(connections.clone()))?;
        Ok(Self { registry, requests, durations, connections })
    }

    /// `route` is the pattern (`/v1/memories/{id}`), never a path: labels must stay few.
    pub fn request(&self, method: &str, route: &str, status: u16, took: Duration) {
        self.requests.with_label_values(&[method, route, &status.to_string()]).inc();
        self.durations.with_label_values(&[method, route]).observe(took.as_secs_f64());
    }

    pub fn pool(&self, name: &str, idle: usize, size: u32, max: u32) {
        let set = |state, value: i64| self.connections.with_label_values(&[name, state]).set(value);
        set("idle", idle as i64);
        set("used", i64::from(size) - idle as i64);
        set("max", i64::from(max));
    }

    /// Adds what others count; who measures names the metric.
    pub fn register(&self, collector: Box<dyn Collector>) -> anyhow::Result<()> {
        Ok(self.registry.register(collector)?)
    }

    /// The text format of Prometheus.
    pub fn render(&self) -> anyhow::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
