//! The log: to standard error, so that standard output stays for results.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::writer::{BoxMakeWriter, MakeWriterExt};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{Log, LogFormat};
use crate::telemetry::Traces;
use crate::telemetry::traces::SPANS;

/// Starts logging for the whole process, and tracing if there is somewhere to send traces to.
pub fn init(log: &Log, traces: Option<&Traces>) -> anyhow::Result<()> {
    init_to(log, traces, BoxMakeWriter::new(std::io::stderr))
}

/// The same for measurements: every line is made, so that its cost is measured, and only warnings are shown.
pub fn init_quietly(log: &Log) -> anyhow::Result<()> {
    init_to(log, None, BoxMakeWriter::new(std::io::stderr.with_max_level(Level::WARN).or_else(std::io::sink)))
}

fn init_to(log: &Log, traces: Option<&Traces>, writer: BoxMakeWriter) -> anyhow::Result<()> {
    let filter = filter(&log.filter, traces.is_some())?;
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let registry = tracing_subscriber::registry().with(filter).with(traces.map(Traces::layer));
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false);
    let lines = filter_fn(|line| line.is_event());
    if json {
        let layer = layer.json().flatten_event(true).with_current_span(false).with_span_list(false);
        registry.with(layer.with_filter(lines)).init();
    } else {
        registry.with(layer.with_filter(lines)).init();
    }
    Ok(())
}

fn filter(wanted: &str, traces: bool) -> anyhow::Result<EnvFilter> {
    // Where nobody traces, nobody wants spans, and they are never made.
    let spans = format!("{SPANS}={}", if traces { "info" } else { "off" });
    let mut filter = EnvFilter::try_new(wanted)?.add_directive(spans.parse()?);
    if !wanted.contains("actix_server") {
        // The server below ours talks about its threads.
        filter = filter.add_directive("actix_server=warn".parse()?);
    }
    if !wanted.contains("tokio_cron_scheduler") {
        // The clock talks about how it was made.
        filter = filter.add_directive("tokio_cron_scheduler=warn".parse()?);
    }
    if !wanted.contains("actix_http") {
        // It calls a request that is no HTTP an error, and any stranger can send one.
        filter = filter.add_directive("actix_http=off".parse()?);
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Stage;

    #[test]
    fn without_traces_no_span_is_made_whatever_the_log_shows() {
        for wanted in ["info", "trace", "cairn=trace"] {
            for traces in [false, true] {
                let layer = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
                let log = tracing_subscriber::registry().with(filter(wanted, traces).expect("valid"));
                tracing::subscriber::with_default(
                    log.with(layer.with_filter(filter_fn(|line| line.is_event()))),
                    || {
                        assert!(tracing::enabled!(target: "cairn", Level::INFO));
                        assert_eq!(Stage::Rank.span().is_disabled(), !traces, "{wanted}");
                    },
                );
            }
        }
    }
}
