//! The contract's roles as data: who is what in which circle, and what each operation takes.

use cairn::auth::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::circles::circle_of;
use crate::harness::Tenant;
use crate::who_acts::principals::Principal;
use crate::who_acts::{Operation, Refusal};

/// Each of the agents has each role somewhere; `mal` shares no circle with any of them.
const CIRCLES: [(&str, &[(&str, Role)]); 4] = [
    ("kitchen", &[("ada", Role::Owner), ("bob", Role::Editor), ("eve", Role::Reader)]),
    ("garden", &[("bob", Role::Owner), ("eve", Role::Editor), ("ada", Role::Reader)]),
    ("studio", &[("eve", Role::Owner), ("ada", Role::Editor), ("bob", Role::Reader)]),
    ("attic", &[("mal", Role::Owner)]),
];

/// Where a request goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A circle of the tenant, by its index.
    Circle(usize),
    /// A circle of another tenant, in which agents of the same names have every role.
    Abroad,
    Nowhere,
}

impl Place {
    pub const ALL: [Self; 6] =
        [Self::Nowhere, Self::Abroad, Self::Circle(0), Self::Circle(1), Self::Circle(2), Self::Circle(3)];

    pub fn name(self) -> &'static str {
        match self {
            Self::Circle(index) => CIRCLES[index].0,
            Self::Abroad => "embassy",
            Self::Nowhere => "nowhere",
        }
    }

    /// Somebody who is in, with its role there.
    fn member(self) -> (&'static str, Role) {
        if let Self::Circle(index) = self { CIRCLES[index].1[0] } else { ("ada", Role::Owner) }
    }

    pub fn role_of(self, agent: &str) -> Option<Role> {
        let Self::Circle(index) = self else { return None };
        CIRCLES[index].1.iter().find(|(member, _)| *member == agent).map(|(_, role)| *role)
    }
}

/// Makes the circles of both tenants. At first everyone is at least editor, so that everyone can share.
pub async fn found(tenant: &Tenant, abroad: &Tenant) {
    for (name, members) in CIRCLES {
        let at_least_editor = |role: Role| role.max(Role::Editor).name();
        let members: Vec<_> = members.iter().map(|(agent, role)| (*agent, at_least_editor(*role))).collect();
        circle_of(tenant, name, &members).await;
    }
    circle_of(abroad, Place::Abroad.name(), &[("ada", "owner"), ("bob", "editor"), ("eve", "reader")]).await;
}

/// Everyone has its role from now on.
pub async fn give_roles(tenant: &Tenant) {
    for (name, members) in CIRCLES {
        let member = |(agent, role): &(&str, Role)| json!({"agent_id": agent, "role": role});
        let members: Vec<Value> = members.iter().map(member).collect();
        tenant.put(&format!("/v1/circles/{name}/members"), json!({"members": members})).await.expect(200);
    }
}

/// A task that nothing can be done about any more.
pub async fn finish_a_task(tenant: &Tenant, place: Place) -> String {
    let path = format!("/v1/circles/{}/tasks", place.name());
    let owner = tenant.acting_as(place.member().0);
    let task = owner.post(&path, json!({"title": "Mend the kettle"})).await.expect(201);
    let id = task["id"].as_str().expect("an id").to_owned();
    for step in ["claim", "submit", "approve"] {
        owner.post(&format!("{path}/{id}/{step}"), json!({})).await.expect(200);
    }
    id
}

/// What an operation takes of an acting agent.
#[derive(Clone, Copy)]
enum Takes {
    Role(Role),
    /// An agent with this role: a back end has none.
    AgentOf(Role),
    /// A new name, or the role of an owner.
    FreeName,
}

fn takes(operation: &Operation) -> Takes {
    let below = operation.path.strip_prefix("/v1/circles").unwrap_or_default();
    let (circle, task) = ("/{circle_id}", "/{circle_id}/tasks/{task_id}");
    let below = below.replacen(task, "T", 1).replacen(circle, "C", 1);
    let role = match (operation.method.as_str(), below.as_str()) {
        ("PUT", "C") => return Takes::FreeName,
        ("POST", "T/claim" | "T/submit") => return Takes::AgentOf(Role::Editor),
        ("GET", _) | ("POST", "C/recall") => Role::Reader,
        ("POST", "C/tasks" | "T/cancel") | ("PATCH", "T") => Role::Editor,
        ("PATCH" | "DELETE", "C") | ("PUT", "C/members") | ("PUT" | "DELETE", "C/members/{agent_id}") => Role::Owner,
        ("POST", "T/approve" | "T/reject") | ("DELETE", "T") => Role::Owner,
        (method, _) => panic!("{method} {}: who may do it?", operation.path),
    };
    Takes::Role(role)
}

/// Whether it is there to be read: every other operation takes the scope of those who manage.
pub fn scope(operation: &Operation) -> &'static str {
    let reads = operation.method == Method::GET || operation.path.ends_with("/recall");
    if reads { "circles:read" } else { "circles:manage" }
}

/// How the contract wants this refused to who has the scope for it.
pub fn refusal(principal: &Principal, operation: &Operation, place: Place, has_task: bool) -> Option<Refusal> {
    let is_there = matches!(place, Place::Circle(_));
    let least = match takes(operation) {
        Takes::FreeName if principal.acts_as().is_none_or(|agent| place.role_of(agent) == Some(Role::Owner)) => {
            return None;
        }
        Takes::FreeName => return Some((409, "id_taken")),
        Takes::Role(least) | Takes::AgentOf(least) => least,
    };
    match principal.acts_as().map(|agent| place.role_of(agent)) {
        None if is_there && has_task && matches!(takes(operation), Takes::AgentOf(_)) => Some((403, "role_required")),
        None if is_there => None,
        None | Some(None) => Some((404, "not_found")),
        Some(Some(role)) if role < least => Some((403, "role_required")),
        Some(Some(_)) => None,
    }
}

/// What changes nothing where it is let through.
pub fn body(operation: &Operation, place: Place) -> Value {
    let (agent, role) = place.member();
    let path = operation.path.as_str();
    match operation.method.as_str() {
        "PUT" if path.ends_with("/members") => json!({"members": [{"agent_id": agent, "role": role}]}),
        "PUT" if path.ends_with("/{agent_id}") => json!({"role": role}),
        "PUT" => json!({"name": place.name()}),
        "POST" if path.ends_with("/recall") => json!({"query": "kettle"}),
        "POST" if path.ends_with("/tasks") => json!({"title": "Mend the kettle"}),
        _ => json!({}),
    }
}

/// The path of a member: one who is there to be changed, none who is there to be removed.
pub fn filled(operation: &Operation, place: Place, task: &str) -> String {
    let agent = if operation.method == Method::DELETE { "nobody" } else { place.member().0 };
    let path = operation.path.replace("{circle_id}", place.name());
    path.replace("{agent_id}", agent).replace("{task_id}", task)
}
