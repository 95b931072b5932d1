//! The HTTP server: the order of middleware, and the one list of features. The same registration
//! makes the router and the specification.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ResourceDef, Server, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::{Next, from_fn};
use actix_web::web::Data;
use actix_web::{App as ActixApp, HttpMessage, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::Context;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, SecurityRequirement};
use utoipa::{PartialSchema, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use utoipa_actix_web::{AppExt, scope};

use crate::app::App;
use crate::auth::{Issuers, KeyUses};
use crate::circles::RecallCounts;
use crate::erase::Eraser;
use crate::error::{Code, Error};
use crate::http::{IdempotencySecret, Problem, RequestId, allow, close_bodies, free_optional_bodies, render_problems};
use crate::recall::{Engine, HotRecalls};
use crate::usage::Recorder;
use crate::{agents, auth, circles, erase, health, insight, memories, recall, scheduler, tenants, warmups};

/// Every feature with routes below `/v1`.
fn features(cfg: &mut ServiceConfig) {
    auth::routes(cfg);
    tenants::routes(cfg);
    agents::routes(cfg);
    memories::routes(cfg);
    circles::routes(cfg);
    recall::routes(cfg);
    insight::routes(cfg);
    warmups::routes(cfg);
    erase::routes(cfg);
}

/// Binds and starts; the address says which port was taken when 0 was asked for.
pub fn start(app: Arc<App>) -> anyhow::Result<(SocketAddr, Server)> {
    let settings = app.config.http.clone();
    let workers = if settings.workers > 0 {
        settings.workers
    } else {
        std::thread::available_parallelism().map_or(1, usize::from)
    };
    let own_metrics = settings.metrics_bind.is_none();
    let mut specification = openapi();
    if !own_metrics {
        specification.paths.paths.remove("/metrics");
    }
    let specification = Data::new(specification);
    let routes = Data::new(Routes::of(&specification));
    let issuers = Data::from(Issuers::start(&app.config.auth)?);
    let key_uses = Data::from(KeyUses::start(app.db.clone()));
    let recall_counts = Data::from(RecallCounts::start(&app));
    let usage = Data::from(Recorder::start(&app));
    let hot = Arc::new(HotRecalls::new(&app.config.warmups));
    let engine = Engine::start(app.clone())?;
    warmups::start_rewarming(&engine, hot.clone())?;
    let hot = Data::from(hot);
    scheduler::start(&engine)?;
    let engine = Data::from(engine);
    let eraser = Data::from(Eraser::start(app.db.clone()));
    let idempotency = Data::new(IdempotencySecret::of(&app.cursor_key)?);
    let server = HttpServer::new({
        let app = app.clone();
        move || {
            let (router, _) = api().split_for_parts();
            router
                .app_data(Data::from(app.clone()))
                // Called once for each worker, on its thread.
                .app_data(Data::new(app.db.gate_of_worker(workers)))
                .app_data(Data::new(app.config.clone()))
                .app_data(Data::new(app.metrics.clone()))
                .app_data(idempotency.clone())
                .app_data(specification.clone())
                .app_data(routes.clone())
                .app_data(issuers.clone())
                .app_data(key_uses.clone())
                .app_data(recall_counts.clone())
                .app_data(usage.clone())
                .app_data(hot.clone())
                .app_data(engine.clone())
                .app_data(eraser.clone())
                .configure(|cfg| health::routes(cfg, &specification, own_metrics))
                .default_service(web::to(unmatched))
                .wrap(from_fn(render_problems))
                .wrap(from_fn(close_while_stopping))
        }
    })
    .workers(workers)
    .disable_signals()
    .client_request_timeout(Duration::from_secs(10))
    .shutdown_timeout(settings.drain_secs);
    let server = server
        .bind(settings.bind)
        .with_context(|| format!("configuration: setting http.bind: cannot listen on {}", settings.bind))?;
    let address = server.addrs().first().copied().context("no address was bound")?;
    Ok((address, server.run()))
}

/// A server of its own for `/metrics`, where the settings ask for one.
pub fn start_metrics(app: Arc<App>) -> anyhow::Result<Option<Server>> {
    let Some(address) = app.config.http.metrics_bind else {
        return Ok(None);
    };
    let server = HttpServer::new(move || ActixApp::new().app_data(Data::from(app.clone())).service(health::metrics))
        .workers(1)
        .disable_signals()
        .bind(address)
        .with_context(|| format!("configuration: setting http.metrics_bind: cannot listen on {address}"))?;
    Ok(Some(server.run()))
}

/// The routes below `/v1`, all behind authentication, and their description.
fn api() -> utoipa_actix_web::UtoipaApp<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    ActixApp::new().into_utoipa_app().openapi(description()).service(
        scope("/v1")
            .configure(features)
            .map(|v1| v1.default_service(web::to(unmatched)).wrap(from_fn(auth::authenticate))),
    )
}

/// The specification, as `/openapi.json` serves it and `cairn openapi` prints it.
pub fn openapi() -> OpenApi {
    let (_, mut specification) = api().split_for_parts();
    specification.merge(health::description());
    let components = specification.components.get_or_insert_default();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("API key or JWT").build();
    components.add_security_scheme("credential", SecurityScheme::Http(bearer));
    let mut schemas = vec![(Problem::name().into_owned(), Problem::schema())];
    Problem::schemas(&mut schemas);
    components.schemas.extend(schemas);
    close_bodies(&mut specification);
    free_optional_bodies(&mut specification);
    specification
}

fn description() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Cairn")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Memory for AI agents: remember, recall, share. Many tenants, one server."))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()))
        .build();
    let mut specification = OpenApi::new(info, utoipa::openapi::Paths::new());
    let tags = [
        ("memories", "What agents remember."),
        ("recall", "Finding what answers a question."),
        ("agents", "Who remembers."),
        ("circles", "Who shares with whom, and what they work on."),
        ("cache", "What is cached: statistics, flushing."),
        ("warm-ups", "What will be asked, asked beforehand."),
        ("keys", "Credentials: API keys, and tokens made from them."),
        ("tenant", "One's own tenant: settings, quotas, limits, usage."),
        ("platform", "For the operator: tenants."),
        ("open", "Health, metrics and this specification; no credential is needed."),
    ];
    let tag = |(name, description): (&str, &str)| TagBuilder::new().name(name).description(Some(description)).build();
    specification.tags = Some(tags.map(tag).into());
    specification.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>("credential", [])]);
    specification
}

/// Whoever kept a connection would lose it when the server ends, perhaps with a request on its way.
async fn close_while_stopping(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let app = request.app_data::<Data<App>>().cloned();
    let mut response = next.call(request).await?;
    if app.is_some_and(|app| app.is_stopping()) {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

/// The paths of the specification and the methods that each answers: tells 405 from 404.
struct Routes(Vec<(ResourceDef, String)>);

impl Routes {
    fn of(specification: &OpenApi) -> Self {
        let routes = specification.paths.paths.iter().map(|(path, item)| {
            let methods = [
                ("DELETE", item.delete.is_some()),
                ("GET", item.get.is_some()),
                ("PATCH", item.patch.is_some()),
                ("POST", item.post.is_some()),
                ("PUT", item.put.is_some()),
            ];
            let methods: Vec<&str> = methods.iter().filter(|(_, answers)| *answers).map(|(name, _)| *name).collect();
            (ResourceDef::new(path.as_str()), methods.join(", "))
        });
        Self(routes.collect())
    }

    fn methods(&self, path: &str) -> Option<&str> {
        self.0.iter().find(|(route, _)| route.is_match(path)).map(|(_, methods)| methods.as_str())
    }
}

/// What no route answers: the path is unknown, or the method is.
async fn unmatched(request: HttpRequest, routes: Data<Routes>) -> HttpResponse {
    let id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let Some(methods) = routes.methods(request.path()) else {
        return Error::not_found("route").answer(&id);
    };
    let mut response = Error::refused(Code::MethodNotAllowed, format!("this path answers {methods}")).answer(&id);
    allow(&mut response, methods);
    response
}
