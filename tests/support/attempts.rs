//! What members of a circle ask for, and former ones try. All that is the circle's has its name in it: its members,
//! what they shared, its tasks. An answer that has it shows something of the circle.

use reqwest::Method;
use serde_json::{Value, json};

/// A request below `/v1`.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub what: &'static str,
    pub method: Method,
    pub path: String,
    pub body: Value,
    pub is_write: bool,
    /// Sent again and again with one `Idempotency-Key`.
    pub is_repeated: bool,
}

/// An agent and what it may ask about.
#[derive(Debug, Clone)]
pub struct Standing {
    pub agent: String,
    pub circle: String,
    /// What another member shared.
    pub shared: String,
    /// What the agent itself shared.
    pub own: String,
    /// What it may share and unshare.
    pub loose: String,
    /// A task of the circle, free to be claimed by this agent.
    pub task: String,
}

const QUESTION: &str = "Which stone lies where?";

fn write(what: &'static str, method: Method, path: String, body: Value) -> Attempt {
    Attempt { what, method, path, body, is_write: true, is_repeated: false }
}

fn read(what: &'static str, method: Method, path: String, body: Value) -> Attempt {
    Attempt { is_write: false, ..write(what, method, path, body) }
}

fn get(what: &'static str, path: String) -> Attempt {
    read(what, Method::GET, path, Value::Null)
}

impl Standing {
    /// What is answered from a cache.
    pub fn cached_reads(&self) -> Vec<Attempt> {
        let Self { agent, circle, .. } = self;
        let ask = |what, path, mut body: Value| {
            (body["query"], body["k"]) = (json!(QUESTION), json!(50));
            read(what, Method::POST, path, body)
        };
        vec![
            ask("recall of all", format!("/agents/{agent}/recall"), json!({})),
            ask("recall within", format!("/agents/{agent}/recall"), json!({"within": {"circles": [circle]}})),
            ask("recall from the circle", format!("/circles/{circle}/recall"), json!({})),
            get("context", format!("/circles/{circle}/context")),
        ]
    }

    /// What is read from Postgres.
    pub fn plain_reads(&self) -> Vec<Attempt> {
        let Self { agent, circle, shared, task, .. } = self;
        vec![
            get("the circle", format!("/circles/{circle}")),
            get("own circles", "/circles".into()),
            get("members", format!("/circles/{circle}/members")),
            get("memories", format!("/circles/{circle}/memories")),
            get("shares", format!("/circles/{circle}/shares")),
            get("tasks", format!("/circles/{circle}/tasks")),
            get("a task", format!("/circles/{circle}/tasks/{task}")),
            get("a task's history", format!("/circles/{circle}/tasks/{task}/history")),
            get("metrics", format!("/circles/{circle}/metrics")),
            get("a shared memory", format!("/memories/{shared}")),
            get("own memories", format!("/agents/{agent}/memories")),
            get("export", format!("/agents/{agent}/export")),
        ]
    }

    /// Writes that leave what recalls see as it is: to the board, or what is so already.
    pub fn board_writes(&self, number: usize) -> Vec<Attempt> {
        let Self { circle, own, task, agent, .. } = self;
        let tasks = format!("/circles/{circle}/tasks");
        let title = json!({"title": format!("Weigh stone {number} of {circle} for {agent}")});
        vec![
            write("share", Method::PUT, format!("/memories/{own}/circles/{circle}"), Value::Null),
            write("create a task", Method::POST, tasks.clone(), title),
            write("claim a task", Method::POST, format!("{tasks}/{task}/claim"), json!({})),
            write("edit a task", Method::PATCH, format!("{tasks}/{task}"), json!({"details": number.to_string()})),
            Attempt {
                is_repeated: true,
                ..write("repeat a write", Method::POST, tasks, json!({"title": format!("Polish a stone of {circle}")}))
            },
        ]
    }

    /// Writes that change what recalls of the circle see.
    pub fn content_writes(&self, number: usize) -> Vec<Attempt> {
        let Self { agent, circle, own, loose, .. } = self;
        let share = format!("/memories/{loose}/circles/{circle}");
        let content = |place: &str| json!({"content": format!("Stone {number} of {agent} lies {place}.")});
        let mut keyed = content("in the yard");
        (keyed["key"], keyed["circles"]) = (json!("yard"), json!([circle]));
        let many = json!({"memories": [keyed]});
        vec![
            write("share anew", Method::PUT, share.clone(), Value::Null),
            write("unshare", Method::DELETE, share, Value::Null),
            write("edit what is shared", Method::PATCH, format!("/memories/{own}"), content("at home")),
            write("remember for the circle", Method::POST, format!("/agents/{agent}/remember"), keyed),
            write("remember a batch for it", Method::POST, format!("/agents/{agent}/remember/batch"), many),
        ]
    }
}
