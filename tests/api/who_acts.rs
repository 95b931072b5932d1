//! The table "Who acts" of the contract, generated: every kind of principal on every route that the
//! specification knows. A new route is in it at once, or names no scope and fails.

use cairn::config::Issuer;
use cairn::ids::TenantId;
use cairn::server;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, TestApp};
use crate::tokens::{Forger, external_claims, key_id, now, token_of};

struct Operation {
    method: Method,
    path: String,
    /// The scope it needs; none: any credential.
    scope: Option<String>,
    has_body: bool,
}

fn operations() -> Vec<Operation> {
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

/// A kind of principal, and what the contract lets it do.
struct Principal {
    who: &'static str,
    caller: Client,
    /// What it sends as `Cairn-Agent`.
    header: Option<&'static str>,
    /// Can act as ada alone.
    bound: bool,
    scopes: &'static [&'static str],
    is_key: bool,
    /// How it is refused, whatever it asks for.
    dead: Option<(u16, &'static str)>,
}

const ALL: [&str; 9] = [
    "memories:read",
    "memories:write",
    "circles:read",
    "circles:manage",
    "cache:read",
    "cache:manage",
    "jobs:manage",
    "keys:manage",
    "tenant:admin",
];

async fn principals(app: &TestApp, tenant: TenantId, unbound: &Client, forger: &Forger) -> Vec<Principal> {
    let bound = app.client(tenant, "all", Some("ada")).await.at(unbound.url());
    let external = async |issuer: &str| {
        let mut claims = external_claims(tenant, now(app).await);
        (claims["iss"], claims["agent"]) = (json!(issuer), json!("ada"));
        forger.sign(&forger.header(), &claims)
    };
    let operator = app.client(TenantId::OPERATOR, "platform", None).await;
    let suspended = app.new_tenant().await;
    let path = format!("/v1/platform/tenants/{}", suspended.id);
    operator.patch(&path, json!({"status": "suspended"})).await.expect(200);
    let revoked = app.client(tenant, "all", None).await;
    unbound.delete(&format!("/v1/keys/{}", key_id(&revoked.key))).await.expect(204);

    let key = |who, caller: &Client, scopes| Principal {
        who,
        caller: caller.at(unbound.url()),
        header: None,
        bound: false,
        scopes,
        is_key: true,
        dead: None,
    };
    let token = |who, token: String, bound, scopes| Principal {
        bound,
        is_key: false,
        ..key(who, &unbound.with_key(&token), scopes)
    };
    vec![
        key("the operator", &operator, &["platform"]),
        key("an unbound key", unbound, &ALL),
        Principal { header: Some("ada"), ..key("an unbound key as ada", unbound, &ALL) },
        Principal { bound: true, ..key("ada's key", &bound, &ALL) },
        Principal { bound: true, header: Some("ada"), ..key("ada's key, which says so", &bound, &ALL) },
        Principal { bound: true, header: Some("bob"), ..key("ada's key as bob", &bound, &ALL) },
        token("an unbound token", token_of(unbound, json!({})).await, false, &ALL),
        token("a token for ada", token_of(unbound, json!({"agent_id": "ada"})).await, true, &ALL),
        token("ada's token", token_of(&bound, json!({})).await, true, &ALL),
        token("another issuer's token", external("https://id.example").await, false, &["memories:read"]),
        token("another issuer's token for ada", external("https://agents.example").await, true, &["memories:read"]),
        key("a reader", &app.client(tenant, "memories:read", None).await, &["memories:read"]),
        key("a keeper of keys", &app.client(tenant, "keys:manage", None).await, &["keys:manage"]),
        Principal { dead: Some((403, "tenant_suspended")), ..key("a suspended tenant", &suspended, &ALL) },
        Principal { dead: Some((401, "unauthenticated")), ..key("a revoked key", &revoked, &ALL) },
        Principal { dead: Some((401, "unauthenticated")), ..key("a stranger", &app.stranger(), &[]) },
    ]
}

/// What a request is about.
struct Target {
    path: String,
    agent: Option<&'static str>,
    /// Of a memory.
    author: Option<&'static str>,
    /// Names something that is not there.
    random: bool,
}

fn targets(template: &str, memories: &[(&'static str, String); 2]) -> Vec<Target> {
    let target = |path: String| Target { path, agent: None, author: None, random: false };
    if template.contains("{agent_id}") {
        let of = |agent: &'static str| Target { agent: Some(agent), ..target(template.replace("{agent_id}", agent)) };
        return vec![of("ada"), of("bob")];
    }
    if template.contains("/memories/{id}") {
        let of = |(author, id): &(&'static str, String)| Target {
            author: Some(*author),
            random: template.contains("{circle_id}"),
            ..target(template.replace("{id}", id).replace("{circle_id}", "crew"))
        };
        return memories.iter().map(of).collect();
    }
    let random = template.contains('{');
    let id = uuid::Uuid::now_v7().to_string();
    let path = template.replace("{circle_id}", "crew");
    let path = ["{key_id}", "{tenant_id}", "{task_id}"].iter().fold(path, |path, name| path.replace(name, &id));
    vec![Target { random, ..target(path) }]
}

/// How the contract wants this refused; none: it is let through.
fn refusal(principal: &Principal, operation: &Operation, target: &Target) -> Option<(u16, &'static str)> {
    let acts_as = principal.header.or(principal.bound.then_some("ada"));
    if principal.dead.is_some() {
        return principal.dead;
    }
    if let Some(header) = principal.header
        && ((principal.bound && header != "ada") || target.agent.is_some_and(|agent| agent != header))
    {
        return Some((403, "agent_mismatch"));
    }
    if principal.bound && target.agent.is_some_and(|agent| agent != "ada") {
        return Some((404, "not_found"));
    }
    if operation.scope.as_ref().is_some_and(|scope| !principal.scopes.contains(&scope.as_str())) {
        return Some((403, "insufficient_scope"));
    }
    if operation.path == "/v1/auth/token" && !principal.is_key {
        return Some((403, "insufficient_scope"));
    }
    if ["/v1/tenant/export", "/v1/cache/flush"].contains(&operation.path.as_str()) && acts_as.is_some() {
        return Some((403, "insufficient_scope"));
    }
    if acts_as.is_some() && target.author.is_some() && target.author != acts_as {
        return Some((404, "not_found"));
    }
    None
}

async fn ask(principal: &Principal, operation: &Operation, target: &Target) -> Answer {
    let mut request = principal.caller.request(operation.method.clone(), &target.path);
    if let Some(agent) = principal.header {
        request = request.header("cairn-agent", agent);
    }
    if operation.method == Method::DELETE {
        // Who gets this far may delete; nothing has to go for it.
        request = request.header("if-match", "\"another\"");
    }
    principal.caller.send(if operation.has_body { request.json(&json!({})) } else { request }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_principal_may_do_on_every_route_what_the_contract_says() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let (forger, folder) = (Forger::new(), tempfile::tempdir().expect("a folder"));
    let free = forger.issuer(&[tenant.id], folder.path());
    let tied = Issuer { issuer: "https://agents.example".into(), agent_claim: Some("agent".into()), ..free.clone() };
    let desk = app.sibling_through(app.database.options(), |config| config.auth.issuers = vec![free, tied]).await;
    let unbound = tenant.at(desk.url());
    let id = |memory: Value| memory["id"].as_str().expect("an id").to_owned();
    let memories = [
        ("ada", id(unbound.remember("ada", "Ada's kettle").await)),
        ("bob", id(unbound.remember("bob", "Bob's kettle").await)),
    ];
    let principals = principals(&app, tenant.id, &unbound, &forger).await;
    let mut asked = 0;
    for operation in operations() {
        for target in targets(&operation.path, &memories) {
            for principal in &principals {
                let answer = ask(principal, &operation, &target).await;
                let case = format!("{}: {} {}: {}", principal.who, operation.method, target.path, answer.text);
                match refusal(principal, &operation, &target) {
                    Some((status, code)) => {
                        assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(code)), "{case}");
                    }
                    None => {
                        assert!(![401, 403].contains(&answer.status), "{case}");
                        assert!(answer.status != 404 || target.random, "{case}");
                    }
                }
                asked += 1;
            }
        }
    }
    assert!(asked > 400, "{asked} cases");
}
