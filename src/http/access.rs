//! What is told of every request at its end: one line of the log, one count in the metrics, one span of a trace.

use std::time::Instant;

use actix_web::HttpMessage;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::web::Data;
use opentelemetry::KeyValue;
use tracing::Span;

use crate::cache::Source;
use crate::config::Config;
use crate::http::{Principal, RequestId};
use crate::telemetry::{InFlight, Metrics, Trace};

/// A request on its way.
pub struct Access {
    started: Instant,
    trace: Trace,
    metrics: Option<Data<Metrics>>,
    _in_flight: Option<InFlight>,
}

impl Access {
    pub fn begin(request: &ServiceRequest) -> Self {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let metrics = request.app_data::<Data<Metrics>>().cloned();
        let in_flight = metrics.as_ref().and_then(|metrics| metrics.begin());
        let trace = Trace::of_request(request.method().as_str(), &header);
        Self { started: Instant::now(), trace, metrics, _in_flight: in_flight }
    }

    /// What the router does belongs to this span.
    pub fn span(&self) -> Span {
        self.trace.span()
    }

    pub fn end(&self, response: &ServiceResponse, id: &RequestId) {
        let (request, status) = (response.request(), response.status());
        let took = self.started.elapsed();
        let (method, route) = (request.method().as_str(), request.match_pattern());
        let route = route.as_deref().unwrap_or("unmatched");
        let cache = response.response().extensions().get::<Source>().map(|source| source.name());
        if let Some(metrics) = &self.metrics {
            metrics.request(method, route, status.as_str(), took);
        }
        let more = [("cairn.request_id", Some(id.0.as_str())), ("cairn.cache", cache)];
        let more = more.into_iter().filter_map(|(name, value)| Some(KeyValue::new(name, value?.to_owned())));
        self.trace.end(route, method, status.as_u16(), more);
        if request.app_data::<Data<Config>>().is_some_and(|config| !config.log.access) {
            return;
        }
        let who = request.extensions().get::<Principal>().cloned();
        tracing::info!(
            request_id = %id.0,
            trace_id = self.trace.id(),
            method,
            route,
            status = status.as_u16(),
            duration_ms = took.as_micros() as f64 / 1e3,
            tenant = who.as_ref().map(|who| who.tenant.as_str()),
            principal = who.as_ref().map(|who| who.principal.as_str()),
            cache,
            "request"
        );
    }
}
