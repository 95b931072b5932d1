//! Routes of recall.

use std::time::{Duration, Instant};

use actix_web::web::Data;
use actix_web::{HttpResponse, post};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::auth::{CircleReader, Reader};
use crate::cache::{Answer, Source};
use crate::circles::RecallCounts;
use crate::error::Result;
use crate::http::{Body, Problems, cached};
use crate::ids::ExternalId;
use crate::memories::check_model;
use crate::recall::model::{CircleRecallRequest, RecallAnswer, RecallRequest};
use crate::recall::service::{self, Counters, Engine, HotRecalls};
use crate::telemetry::Stage;
use crate::usage::Recorder;

pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(recall).service(recall_from_circle);
}

/// Recall
///
/// The memories that fit a question best, from the agent's own and from the circles it is a member of at this
/// moment. Fewer than `k` only if fewer match. Without embeddings it falls back to words and warns. An answer that comes
/// from the cache is the one that computing it now would give.
#[utoipa::path(tag = "recall", security(("credential" = ["memories:read"])), params(("agent_id" = ExternalId, Path)), request_body = RecallRequest,
    responses((status = OK, body = RecallAnswer, headers(
        ("Cairn-Cache" = String, description = "`hit; layer=local|redis; age=<ms>`, `miss`, or `bypass`"),
        ("Server-Timing" = String, description = "Milliseconds by stage: gate, cache, embed, search, total"))), Problems))]
#[post("/agents/{agent_id}/recall")]
async fn recall(
    caller: Reader,
    engine: Data<Engine>,
    circles: Data<RecallCounts>,
    usage: Data<Recorder>,
    hot: Data<HotRecalls>,
    body: Body<RecallRequest>,
) -> Result<HttpResponse> {
    check_model(&engine.app, &caller.embedding_pin)?;
    let admitted = Instant::now();
    let counters = Counters { circles: &circles, usage: &usage, hot: &hot };
    let answer = service::recall(engine.clone().into_inner(), counters, &caller, body.0).await?;
    Ok(measured(&engine.app, answer, caller.gate_took, admitted))
}

/// Recall from a circle
///
/// The memories shared in the circle that fit a question best. Every member gets the same answer, whatever its role.
#[utoipa::path(tag = "recall", security(("credential" = ["circles:read"])), params(("circle_id" = ExternalId, Path)), request_body = CircleRecallRequest,
    responses((status = OK, body = RecallAnswer, headers(
        ("Cairn-Cache" = String, description = "`hit; layer=local|redis; age=<ms>`, `miss`, or `bypass`"),
        ("Server-Timing" = String, description = "Milliseconds by stage: gate, cache, embed, search, total"))), Problems))]
#[post("/circles/{circle_id}/recall")]
async fn recall_from_circle(
    caller: CircleReader,
    engine: Data<Engine>,
    circles: Data<RecallCounts>,
    usage: Data<Recorder>,
    hot: Data<HotRecalls>,
    body: Body<CircleRecallRequest>,
) -> Result<HttpResponse> {
    check_model(&engine.app, &caller.embedding_pin)?;
    let admitted = Instant::now();
    let counters = Counters { circles: &circles, usage: &usage, hot: &hot };
    let answer = service::recall_from_circle(engine.clone().into_inner(), counters, &caller, body.0.0).await?;
    Ok(measured(&engine.app, answer, caller.gate_took, admitted))
}

/// The stages of a computed answer are measured where they happen; these two, every answer has.
fn measured(app: &App, answer: Answer, gate_took: Duration, admitted: Instant) -> HttpResponse {
    app.metrics.stages().took(Stage::Gate, gate_took);
    if answer.source != Source::Bypass {
        app.metrics.stages().took(Stage::Cache, answer.timing.cache);
    }
    cached(answer, gate_took, admitted)
}
