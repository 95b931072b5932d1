//! Answers that may come from a cache, and the headers that say whether they do and where the time went.

use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use actix_web::http::header::ContentType;

use crate::cache::{Answer, Source};

/// An answer to a call that came out of the gate, after `gate_took`, at this moment.
pub fn cached(answer: Answer, gate_took: Duration, admitted: Instant) -> HttpResponse {
    let Answer { body, source, timing, .. } = answer;
    let stages = [
        ("gate", gate_took),
        ("cache", timing.cache),
        ("embed", timing.embed),
        ("search", timing.search),
        ("total", gate_took + admitted.elapsed()),
    ];
    let mut response = HttpResponse::Ok()
        .content_type(ContentType::json())
        .insert_header(("Cairn-Cache", cairn_cache(source)))
        .insert_header(("Server-Timing", server_timing(&stages)))
        .body(body);
    // For the log.
    response.extensions_mut().insert(source);
    response
}

fn cairn_cache(source: Source) -> String {
    match source {
        Source::Hit { layer, age } => format!("hit; layer={}; age={age}", layer.name()),
        Source::Miss => "miss".into(),
        Source::Bypass => "bypass".into(),
    }
}

/// Milliseconds by stage, as browsers and tools read them.
fn server_timing(stages: &[(&str, Duration)]) -> String {
    let stages = stages.iter().map(|(name, took)| format!("{name};dur={:.3}", took.as_secs_f64() * 1e3));
    stages.collect::<Vec<_>>().join(", ")
}
