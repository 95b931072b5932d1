//! Kinds of principals: credentials of every form and reach, acting as agents of every role.

use cairn::ids::TenantId;
use serde_json::json;

use crate::harness::{Client, TestApp};
use crate::tokens::{Forger, external_claims, key_id, now, token_of};

/// A kind of principal, and what the contract lets it do.
pub struct Principal {
    pub who: &'static str,
    pub caller: Client,
    /// What it sends as `Cairn-Agent`.
    pub header: Option<&'static str>,
    /// The one agent that it can act as.
    pub bound: Option<&'static str>,
    pub scopes: &'static [&'static str],
    pub is_key: bool,
    /// How it is refused, whatever it asks for.
    pub dead: Option<(u16, &'static str)>,
}

impl Principal {
    pub fn acts_as(&self) -> Option<&'static str> {
        self.header.or(self.bound)
    }

    pub fn may(&self, scope: &str) -> bool {
        self.scopes.contains(&scope)
    }
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

fn key(who: &'static str, caller: &Client, scopes: &'static [&'static str]) -> Principal {
    Principal { who, caller: caller.clone(), header: None, bound: None, scopes, is_key: true, dead: None }
}

fn bound(to: &'static str, principal: Principal) -> Principal {
    Principal { bound: Some(to), ..principal }
}

fn acting(header: &'static str, principal: Principal) -> Principal {
    Principal { header: Some(header), ..principal }
}

fn dead(status: u16, code: &'static str, principal: Principal) -> Principal {
    Principal { dead: Some((status, code)), ..principal }
}

/// Everyone, at the instance that knows the other issuers; `unbound` may do everything in the tenant.
pub async fn principals(app: &TestApp, tenant: TenantId, unbound: &Client, forger: &Forger) -> Vec<Principal> {
    let mut everyone = living(app, tenant, unbound).await;
    everyone.extend(with_tokens(app, tenant, unbound, forger).await);
    everyone.extend(refused_everywhere(app, tenant, unbound).await);
    for principal in &mut everyone {
        principal.caller = principal.caller.at(unbound.url());
    }
    everyone
}

async fn living(app: &TestApp, tenant: TenantId, unbound: &Client) -> Vec<Principal> {
    let operator = app.client(TenantId::OPERATOR, "platform", None).await;
    let adas = app.client(tenant, "all", Some("ada")).await;
    let bobs = app.client(tenant, "all", Some("bob")).await;
    let limited = async |scopes: &str| app.client(tenant, scopes, None).await;
    vec![
        key("the operator", &operator, &["platform"]),
        key("an unbound key", unbound, &ALL),
        acting("ada", key("an unbound key as ada", unbound, &ALL)),
        acting("bob", key("an unbound key as bob", unbound, &ALL)),
        acting("mal", key("an unbound key as mal", unbound, &ALL)),
        acting("nobody", key("an unbound key as an agent that is not there", unbound, &ALL)),
        bound("ada", key("ada's key", &adas, &ALL)),
        bound("ada", acting("ada", key("ada's key, which says so", &adas, &ALL))),
        bound("ada", acting("bob", key("ada's key as bob", &adas, &ALL))),
        bound("bob", key("bob's key", &bobs, &ALL)),
        key("a reader", &limited("memories:read").await, &["memories:read"]),
        key("a writer", &limited("memories:write").await, &["memories:write"]),
        key("a keeper of keys", &limited("keys:manage").await, &["keys:manage"]),
        key("an observer of circles", &limited("circles:read").await, &["circles:read"]),
        key("a keeper of circles", &limited("circles:manage").await, &["circles:manage"]),
        acting("ada", key("an observer of circles as ada", &limited("circles:read").await, &["circles:read"])),
    ]
}

async fn with_tokens(app: &TestApp, tenant: TenantId, unbound: &Client, forger: &Forger) -> Vec<Principal> {
    let adas = app.client(tenant, "all", Some("ada")).await.at(unbound.url());
    let external = async |issuer: &str| {
        let mut claims = external_claims(tenant, now(app).await);
        (claims["iss"], claims["agent"]) = (json!(issuer), json!("ada"));
        forger.sign(&forger.header(), &claims)
    };
    let token = |who, token: String, scopes| Principal { is_key: false, ..key(who, &unbound.with_key(&token), scopes) };
    vec![
        token("an unbound token", token_of(unbound, json!({})).await, &ALL),
        bound("ada", token("a token for ada", token_of(unbound, json!({"agent_id": "ada"})).await, &ALL)),
        bound("ada", token("ada's token", token_of(&adas, json!({})).await, &ALL)),
        bound("eve", token("a token for eve", token_of(unbound, json!({"agent_id": "eve"})).await, &ALL)),
        token("another issuer's token", external("https://id.example").await, &["memories:read"]),
        bound(
            "ada",
            token("another issuer's token for ada", external("https://agents.example").await, &["memories:read"]),
        ),
    ]
}

async fn refused_everywhere(app: &TestApp, tenant: TenantId, unbound: &Client) -> Vec<Principal> {
    let operator = app.client(TenantId::OPERATOR, "platform", None).await;
    let suspended = app.new_tenant().await;
    let path = format!("/v1/platform/tenants/{}", suspended.id);
    operator.patch(&path, json!({"status": "suspended"})).await.expect(200);
    let revoked = app.client(tenant, "all", None).await;
    unbound.delete(&format!("/v1/keys/{}", key_id(&revoked.key))).await.expect(204);
    vec![
        dead(403, "tenant_suspended", key("a suspended tenant", &suspended, &ALL)),
        dead(401, "unauthenticated", key("a revoked key", &revoked, &ALL)),
        dead(401, "unauthenticated", key("a stranger", &app.stranger(), &[])),
    ]
}
