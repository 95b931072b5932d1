//! The table "Who acts" of the contract, generated: every kind of principal on every route that the
//! specification knows. A new route is in it at once, or names no scope and fails.

pub mod circles;
mod principals;
mod shares;

use std::collections::HashMap;

use cairn::config::Issuer;
use cairn::server;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Answer, Tenant, TestApp};
use crate::tokens::Forger;
use crate::who_acts::circles::Place;
use crate::who_acts::principals::{Principal, principals};
use crate::who_acts::shares::Memory;

/// Status and code.
type Refusal = (u16, &'static str);

pub struct Operation {
    pub method: Method,
    pub path: String,
    /// The scope it needs; none: any credential.
    pub scope: Option<String>,
    pub has_body: bool,
}

pub fn operations() -> Vec<Operation> {
    let specification = serde_json::to_value(server::openapi()).expect("JSON");
    let paths = specification["paths"].as_object().expect("paths").iter().filter(|(path, _)| path.starts_with("/v1"));
    let mut operations = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("an item") {
            let Ok(method) = method.to_uppercase().parse() else { continue };
            let scopes = operation["security"][0]["credential"].as_array();
            let scopes = scopes.unwrap_or_else(|| panic!("{method} {path} does not say which scope it needs"));
            assert!(scopes.len() <= 1, "{method} {path} needs more than one scope");
            let scope = scopes.first().map(|scope| scope.as_str().expect("a name").to_owned());
            let has_body = operation.get("requestBody").is_some();
            operations.push(Operation { method, path: path.clone(), scope, has_body });
        }
    }
    operations
}

/// No agent, whatever its scopes.
const FOR_BACK_ENDS: [&str; 2] = ["/v1/tenant/export", "/v1/cache/flush"];

/// Warm-ups hold what all agents are asked; a schedule alone tells nothing.
fn is_for_back_ends(path: &str) -> bool {
    FOR_BACK_ENDS.contains(&path) || (path.starts_with("/v1/warmups") && path != "/v1/warmups/preview")
}

/// What requests are about.
struct World {
    memories: Vec<Memory>,
    /// A finished task of each circle.
    tasks: HashMap<&'static str, String>,
}

/// What a request is about.
struct Target<'a> {
    path: String,
    body: Value,
    subject: Subject<'a>,
    /// Names something that is not there.
    random: bool,
}

#[derive(Clone, Copy)]
enum Subject<'a> {
    Other,
    Agent(&'static str),
    Memory(&'a Memory),
    Share(&'a Memory, Place),
    Circle {
        place: Place,
        /// The task of the path is there, if it names one.
        has_task: bool,
    },
}

impl Subject<'_> {
    /// The circle of the path, and the memory.
    fn place(&self) -> (Option<Place>, Option<&str>) {
        match self {
            Self::Circle { place, .. } => (Some(*place), None),
            Self::Share(memory, place) => (Some(*place), Some(&memory.id)),
            _ => (None, None),
        }
    }
}

fn targets<'a>(operation: &Operation, world: &'a World) -> Vec<Target<'a>> {
    let template = operation.path.as_str();
    let target = |path, subject| Target { path, body: json!({}), subject, random: false };
    if template.starts_with("/v1/circles/") {
        return places(operation, world);
    }
    if template.contains("{agent_id}") {
        return ["ada", "bob"].map(|agent| target(template.replace("{agent_id}", agent), Subject::Agent(agent))).into();
    }
    if template.contains("/memories/{id}") {
        let memories = world.memories.iter().map(|memory| (memory, template.replace("{id}", &memory.id)));
        if !template.contains("{circle_id}") {
            return memories.map(|(memory, path)| target(path, Subject::Memory(memory))).collect();
        }
        let at = |(memory, path): (&'a Memory, String)| {
            Place::ALL.map(|place| Target {
                random: !memory.is_shared_in(place),
                ..target(path.replace("{circle_id}", place.name()), Subject::Share(memory, place))
            })
        };
        return memories.flat_map(at).collect();
    }
    let id = Uuid::now_v7().to_string();
    let ids = ["{key_id}", "{tenant_id}", "{warmup_id}", "{run_id}"];
    let path = ids.iter().fold(template.to_owned(), |path, name| path.replace(name, &id));
    vec![Target { random: template.contains('{'), ..target(path, Subject::Other) }]
}

/// In every circle, each with a task that is there and with one that is not.
fn places<'a>(operation: &Operation, world: &World) -> Vec<Target<'a>> {
    let mut targets = Vec::new();
    for place in Place::ALL {
        // Elsewhere, a name is free.
        if (operation.method == Method::PUT && operation.path == "/v1/circles/{circle_id}")
            && !matches!(place, Place::Circle(_))
        {
            continue;
        }
        let nothing = Uuid::now_v7().to_string();
        let there = world.tasks.get(place.name()).filter(|_| operation.path.contains("{task_id}"));
        for task in [Some(&nothing), there].into_iter().flatten() {
            let has_task = *task != nothing;
            let names_nobody = operation.method == Method::DELETE && operation.path.ends_with("{agent_id}");
            targets.push(Target {
                path: circles::filled(operation, place, task),
                body: circles::body(operation, place),
                subject: Subject::Circle { place, has_task },
                random: names_nobody || (operation.path.contains("{task_id}") && !has_task),
            });
        }
    }
    targets
}

/// How the contract wants this refused; none: it is let through.
fn refusal(principal: &Principal, operation: &Operation, subject: Subject<'_>) -> Option<Refusal> {
    let in_path = if let Subject::Agent(agent) = subject { Some(agent) } else { None };
    if principal.dead.is_some() {
        return principal.dead;
    }
    let mismatch = |other: Option<&str>| other.is_some_and(|other| principal.header.is_some_and(|one| one != other));
    if mismatch(principal.bound) || mismatch(in_path) {
        return Some((403, "agent_mismatch"));
    }
    if principal.bound.is_some() && in_path.is_some_and(|agent| principal.bound != Some(agent)) {
        return Some((404, "not_found"));
    }
    if operation.scope.as_ref().is_some_and(|scope| !principal.may(scope)) {
        return Some((403, "insufficient_scope"));
    }
    match subject {
        Subject::Other if operation.path == "/v1/auth/token" && !principal.is_key => Some((403, "insufficient_scope")),
        Subject::Other if operation.path == "/v1/auth/token" && principal.header == Some("nobody") => {
            Some((404, "not_found"))
        }
        Subject::Other if is_for_back_ends(&operation.path) && principal.acts_as().is_some() => {
            Some((403, "insufficient_scope"))
        }
        Subject::Other | Subject::Agent(_) => None,
        Subject::Memory(memory) => memory.refusal(principal, operation),
        Subject::Share(memory, place) => memory.share_refusal(principal, operation, place),
        Subject::Circle { place, has_task } => circles::refusal(principal, operation, place, has_task),
    }
}

async fn ask(principal: &Principal, operation: &Operation, target: &Target<'_>) -> Answer {
    let mut request = principal.caller.request(operation.method.clone(), &target.path);
    if let Some(agent) = principal.header {
        request = request.header("cairn-agent", agent);
    }
    if operation.method == Method::DELETE {
        // Who gets this far may delete; nothing has to go for it.
        request = request.header("if-match", "\"another\"");
    }
    principal.caller.send(if operation.has_body { request.json(&target.body) } else { request }).await
}

/// A refusal without what differs between any two.
fn stripped(answer: &Answer) -> Value {
    let mut problem = answer.json();
    problem["request_id"].take();
    problem
}

/// Circles with every role in them; in each a finished task, and what its members share.
async fn world(tenant: &Tenant, abroad: &Tenant) -> World {
    circles::found(tenant, abroad).await;
    let mut memories = Vec::new();
    for author in ["ada", "bob", "mal"] {
        let shared: Vec<&str> = Place::ALL.iter().filter(|p| p.role_of(author).is_some()).map(|p| p.name()).collect();
        let content = format!("The kettle of {author}");
        let memory = tenant.remember_as(author, json!({"content": content, "circles": shared})).await;
        memories.push(Memory { author, id: memory["id"].as_str().expect("an id").to_owned() });
    }
    let mut tasks = HashMap::new();
    for place in Place::ALL {
        let home = if place == Place::Abroad { abroad } else { tenant };
        if place != Place::Nowhere {
            tasks.insert(place.name(), circles::finish_a_task(home, place).await);
        }
    }
    circles::give_roles(tenant).await;
    World { memories, tasks }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_principal_may_do_on_every_route_what_the_contract_says() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let (forger, folder) = (Forger::new(), tempfile::tempdir().expect("a folder"));
    let free = forger.issuer(&[tenant.id], folder.path());
    let tied = Issuer { issuer: "https://agents.example".into(), agent_claim: Some("agent".into()), ..free.clone() };
    let desk = app.sibling_through(app.database.options(), |config| config.auth.issuers = vec![free, tied]).await;
    let world = world(&tenant, &app.new_tenant().await).await;
    let principals = principals(&app, tenant.id, &tenant.at(desk.url()), &forger).await;
    let mut asked = 0;
    for operation in operations() {
        if operation.path.starts_with("/v1/circles") {
            assert_eq!(operation.scope.as_deref(), Some(circles::scope(&operation)), "{}", operation.path);
        }
        let targets = targets(&operation, &world);
        asked += targets.len() * principals.len();
        let reach = |principal: &Principal| if principal.dead.is_some() { &targets[..1] } else { &targets[..] };
        join_all(principals.iter().map(|principal| check(principal, &operation, reach(principal)))).await;
    }
    assert!(asked > 3_000, "{asked} cases");
}

/// Every target in turn. Whoever may not know that something is there gets the answer that is given about nothing.
async fn check(principal: &Principal, operation: &Operation, targets: &[Target<'_>]) {
    let mut nowhere: HashMap<Option<&str>, Value> = HashMap::new();
    for target in targets {
        let answer = ask(principal, operation, target).await;
        let case = format!("{}: {} {}: {}", principal.who, operation.method, target.path, answer.text);
        let (place, memory) = target.subject.place();
        match refusal(principal, operation, target.subject) {
            Some((status, code)) => {
                assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(code)), "{case}");
                if place == Some(Place::Nowhere) {
                    nowhere.insert(memory, stripped(&answer));
                } else if place.is_some() && status == 404 {
                    assert_eq!(nowhere.get(&memory), Some(&stripped(&answer)), "{case}");
                }
            }
            None => {
                assert!(![401, 403].contains(&answer.status), "{case}");
                assert!(answer.status != 404 || target.random, "{case}");
                assert!(answer.status != 404 || nowhere.get(&memory) != Some(&stripped(&answer)), "{case}");
            }
        }
    }
}
