//! Traces: a span a request and one a stage, sent to a collector by OTLP where one is configured, with the context
//! of the W3C in and out. Without a collector no span is ever made.

use std::time::Duration;

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Status, TraceContextExt, TraceId, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderInjector;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use reqwest::header::HeaderMap;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use crate::config::Telemetry;
use crate::telemetry::collector::Collector;

/// The target of all spans; the log leaves it out, and whoever else makes spans stays out of the traces.
pub const SPANS: &str = "cairn::spans";

const TRACEPARENT: &str = "traceparent";

/// How long the end may take to send what is left.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// The way of spans out of this process: a queue, emptied by a thread of its own. When it is full, spans are lost,
/// and nobody waits.
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// None where no collector is configured. Nobody is called yet: it may be down when the server starts.
    pub fn start(settings: &Telemetry) -> anyhow::Result<Option<Self>> {
        let Some(url) = settings.traces_url()? else { return Ok(None) };
        let exporter = SpanExporter::builder().with_http().with_endpoint(url).with_http_client(Collector::new()?);
        let resource = Resource::builder()
            .with_service_name(settings.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter.build()?)
            .with_sampler(Sampler::parent_based(Sampler::TraceIdRatioBased(settings.sampling)))
            .with_resource(resource.build());
        Ok(Some(Self { provider: provider.build() }))
    }

    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("cairn"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(SPANS, tracing::Level::INFO))
    }

    /// Sends what is left, within reason. Blocks.
    pub fn close(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(CLOSE_PATIENCE) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// The trace that a request belongs to.
pub struct Trace {
    span: Span,
    id: Option<TraceId>,
}

impl Trace {
    /// `header` looks a header of the request up. A context that makes no sense counts as none.
    pub fn of_request<'a>(method: &str, header: &'a dyn Fn(&str) -> Option<&'a str>) -> Self {
        let span = tracing::info_span!(target: SPANS, "request", otel.kind = "server", http.request.method = method);
        let caller = header(TRACEPARENT).map(|_| TraceContextPropagator::new().extract(&Headers(header)));
        let caller = caller.filter(|caller| caller.span().span_context().is_valid());
        let mut id = caller.as_ref().map(|caller| caller.span().span_context().trace_id());
        if !span.is_disabled() {
            if let Some(caller) = caller {
                // The span is young and takes it.
                span.set_parent(caller).ok();
            }
            id = Some(span.context().span().span_context().trace_id());
        }
        Self { span, id }
    }

    /// For work that belongs to the request.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// As other tools write it. Without traces of ours, what the caller calls its own.
    pub fn id(&self) -> Option<String> {
        self.id.map(|id| id.to_string())
    }

    /// What is known of the request at its end.
    pub fn end(&self, route: &str, method: &str, status: u16, more: impl IntoIterator<Item = KeyValue>) {
        if self.span.is_disabled() {
            return;
        }
        let context = self.span.context();
        let span = context.span();
        span.update_name(format!("{method} {route}"));
        span.set_attribute(KeyValue::new("http.route", route.to_owned()));
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        span.set_attributes(more);
        if status >= 500 {
            span.set_status(Status::error(""));
        }
    }
}

struct Headers<'a>(&'a dyn Fn(&str) -> Option<&'a str>);

impl Extractor for Headers<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        (self.0)(name)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, "tracestate"]
    }
}

/// A call to somebody else, for the traces.
pub fn call_span(name: &str) -> Span {
    tracing::info_span!(target: SPANS, "call", otel.name = name, otel.kind = "client")
}

/// Says on the way out which trace a call belongs to, if it does.
pub fn inject(headers: &mut HeaderMap) {
    let span = Span::current();
    if !span.is_disabled() {
        let context: Context = span.context();
        TraceContextPropagator::new().inject_context(&context, &mut HeaderInjector(headers));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_caller_is_known_without_traces_of_our_own() {
        let id = |value: &'static str| Trace::of_request("GET", &|name| (name == TRACEPARENT).then_some(value)).id();
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(id(good).as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
        for bad in [
            "",
            "hunter2",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(id(bad), None, "{bad}");
        }
        assert_eq!(Trace::of_request("GET", &|_| None).id(), None);
    }

    #[test]
    fn a_call_out_of_no_trace_says_nothing() {
        let mut headers = HeaderMap::new();
        inject(&mut headers);
        assert!(headers.is_empty());
    }
}
