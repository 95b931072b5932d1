//! How the circle comes to be, while everything is whole.

use reqwest::Method;
use serde_json::{Value, json};

use crate::circle::actors::Member;
use crate::circle::stage::{CIRCLE, Stage, Voice, request};
use crate::support::attempts::Standing;

/// Who removes and adds members.
pub const OWNERS: [&str; 3] = ["heron-1", "heron-2", "heron-3"];

/// A circle without members but its owners.
pub async fn found(stage: &Stage) {
    let put = async |path: String, body| {
        stage.insist(&Voice::BackEnd, 0, &request("found", Method::PUT, path, body)).await;
    };
    put(format!("/circles/{CIRCLE}"), json!({"name": CIRCLE})).await;
    let owners = OWNERS.map(|owner| json!({"agent_id": owner, "role": "owner"}));
    put(format!("/circles/{CIRCLE}/members"), json!({"members": owners})).await;
}

/// An editor with a bit of everything in the circle. Every other one has a key of its own.
pub async fn new_member(stage: &Stage, number: usize) -> Member {
    let agent = format!("member-{number}");
    let write = async |method: Method, path: String, body: Value| {
        stage.insist(&Voice::BackEnd, number, &request("found", method, path, body)).await.body
    };
    let post = async |path: &str, body| write(Method::POST, path.to_owned(), body).await;
    let id = |body: Value| body["id"].as_str().unwrap_or_else(|| panic!("no id: {body}")).to_owned();
    let remember = async |author: &str, content: String, circles: &[&str]| {
        id(post(&format!("/agents/{author}/remember"), json!({"content": content, "circles": circles})).await)
    };
    write(Method::PUT, format!("/circles/{CIRCLE}/members/{agent}"), json!({"role": "editor"})).await;
    let task = json!({"title": format!("Find a stone of {CIRCLE} for {agent}")});
    let standing = Standing {
        circle: CIRCLE.to_owned(),
        shared: remember(OWNERS[0], format!("A stone of {CIRCLE} for {agent}."), &[CIRCLE]).await,
        own: remember(&agent, format!("A stone of {agent}."), &[CIRCLE]).await,
        loose: remember(&agent, format!("Another stone of {agent}."), &[]).await,
        task: id(post(&format!("/circles/{CIRCLE}/tasks"), task).await),
        agent: agent.clone(),
    };
    let voice = if number.is_multiple_of(2) {
        let scopes = ["memories:read", "memories:write", "circles:read", "circles:manage"];
        let body = post("/keys", json!({"name": agent, "agent_id": agent, "scopes": scopes})).await;
        Voice::Holder(body["key"].as_str().unwrap_or_else(|| panic!("no key: {body}")).to_owned())
    } else {
        Voice::For(agent)
    };
    Member { number, standing, voice }
}
