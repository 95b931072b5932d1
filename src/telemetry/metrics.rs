//! The registry of metrics, and what is measured of every request.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::config::Telemetry;
use crate::telemetry::process::Process;
use crate::telemetry::{Latencies, Stages};

/// Seconds; a stage may take a tenth of a millisecond, a batch of memories minutes.
const DURATION_BUCKETS: [f64; 16] =
    [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// The methods that anything answers; labels must stay few, whatever strangers send.
const METHODS: [&str; 5] = ["DELETE", "GET", "PATCH", "POST", "PUT"];

/// How long things take, by these labels, in buckets that fit a cache hit as well as a batch.
pub fn durations(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<HistogramVec> {
    HistogramVec::new(HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec()), labels)
}

pub fn counters(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

/// What the server counts about itself, in the names and units of Prometheus.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    http: Option<Http>,
    stages: Stages,
    connections: IntGaugeVec,
}

#[derive(Clone)]
struct Http {
    requests: IntCounterVec,
    durations: HistogramVec,
    in_flight: IntGauge,
}

/// A request that is being answered, until this is dropped.
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    pub fn new(settings: &Telemetry) -> anyhow::Result<Self> {
        let registry = Registry::new();
        let http = Http::new(&registry)?;
        let (stages, durations) = Stages::new(settings.metrics)?;
        let connections = IntGaugeVec::new(
            Opts::new("cairn_database_connections", "Connections by pool and state (idle, used, max)."),
            &["pool", "state"],
        )?;
        registry.register(Box::new(durations))?;
        registry.register(Box::new(connections.clone()))?;
        registry.register(Box::new(build_info()?))?;
        registry.register(Box::new(Process::new()?))?;
        Ok(Self { registry, http: settings.metrics.then_some(http), stages, connections })
    }

    /// A request begins; it ends when the guard is dropped, even if nobody waits for its answer.
    pub fn begin(&self) -> Option<InFlight> {
        let http = self.http.as_ref()?;
        http.in_flight.inc();
        Some(InFlight(http.in_flight.clone()))
    }

    /// `route` is the pattern (`/v1/memories/{id}`), never a path: labels must stay few.
    pub fn request(&self, method: &str, route: &str, status: &str, took: Duration) {
        let Some(http) = &self.http else { return };
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("other");
        http.requests.with_label_values(&[method, route, status]).inc();
        http.durations.with_label_values(&[method, route, class(status)]).observe(took.as_secs_f64());
    }

    /// How long requests took since the start.
    pub fn latencies(&self) -> Latencies {
        self.http.as_ref().map(|http| Latencies::of(&http.durations)).unwrap_or_default()
    }

    pub fn stages(&self) -> &Stages {
        &self.stages
    }

    pub fn pool(&self, name: &str, idle: usize, size: usize, max: usize) {
        let set = |state, value: i64| self.connections.with_label_values(&[name, state]).set(value);
        set("idle", idle as i64);
        set("used", size as i64 - idle as i64);
        set("max", max as i64);
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

impl Http {
    fn new(registry: &Registry) -> anyhow::Result<Self> {
        let labels = ["method", "route", "status"];
        let http = Self {
            requests: counters("cairn_http_requests_total", "Requests answered, by status.", &labels)?,
            durations: durations(
                "cairn_http_request_duration_seconds",
                "Time from the head of a request to its answer, by class of status.",
                &labels,
            )?,
            in_flight: IntGauge::new("cairn_http_requests_in_flight", "Requests that are being answered.")?,
        };
        // A rate of faults can be asked for before the first one.
        http.requests.with_label_values(&["GET", "unmatched", "500"]);
        registry.register(Box::new(http.requests.clone()))?;
        registry.register(Box::new(http.durations.clone()))?;
        registry.register(Box::new(http.in_flight.clone()))?;
        Ok(http)
    }
}

/// Every status apart would multiply the buckets.
fn class(status: &str) -> &'static str {
    match status.as_bytes().first() {
        Some(b'1') => "1xx",
        Some(b'2') => "2xx",
        Some(b'3') => "3xx",
        Some(b'4') => "4xx",
        _ => "5xx",
    }
}

fn build_info() -> anyhow::Result<IntGaugeVec> {
    let info = IntGaugeVec::new(
        Opts::new("cairn_build_info", "Always 1; the labels say what runs."),
        &["version", "profile"],
    )?;
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    info.with_label_values(&[env!("CARGO_PKG_VERSION"), profile]).set(1);
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render().expect("text")).expect("UTF-8")
    }

    #[test]
    fn a_method_that_a_stranger_makes_up_makes_no_series() {
        let metrics = Metrics::new(&Telemetry::default()).expect("metrics");
        for number in 0..100 {
            metrics.request(&format!("BREW{number}"), "unmatched", "405", Duration::from_millis(1));
        }
        let text = shown(&metrics);
        assert!(
            text.contains(r#"cairn_http_requests_total{method="other",route="unmatched",status="405"} 100"#),
            "{text}"
        );
        assert!(!text.contains("BREW"), "{text}");
    }

    #[test]
    fn a_request_is_in_flight_until_its_guard_goes() {
        let metrics = Metrics::new(&Telemetry::default()).expect("metrics");
        let guard = metrics.begin();
        assert!(shown(&metrics).contains("cairn_http_requests_in_flight 1\n"));
        drop(guard);
        assert!(shown(&metrics).contains("cairn_http_requests_in_flight 0\n"));
    }

    #[test]
    fn what_is_not_to_be_measured_is_not() {
        let metrics = Metrics::new(&Telemetry { metrics: false, ..Telemetry::default() }).expect("metrics");
        assert!(metrics.begin().is_none());
        metrics.request("GET", "/livez", "200", Duration::from_millis(1));
        metrics.stages().took(crate::telemetry::Stage::Rank, Duration::from_millis(1));
        let text = shown(&metrics);
        assert!(!text.contains("/livez") && text.contains(r#"stage_duration_seconds_count{stage="rank"} 0"#), "{text}");
    }

    #[test]
    fn a_hit_of_a_third_of_a_millisecond_has_a_bucket_of_its_own() {
        let around = DURATION_BUCKETS.windows(2).find(|pair| (pair[0]..pair[1]).contains(&0.00035));
        assert_eq!(around, Some(&[0.0002, 0.0005][..]));
    }
}
