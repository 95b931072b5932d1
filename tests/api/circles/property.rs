//! Random histories of shares, members, roles, edits and forgets, on two instances: what each agent can recall is what a
//! model of a few lines says, and so is what is refused.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::circles::{assert_consistent, circle_of};
use crate::harness::{Answer, Client, TestApp};

const AGENTS: [&str; 3] = ["ada", "bob", "eve"];
const CIRCLES: [&str; 3] = ["c", "d", "e"];
const ROLES: [&str; 3] = ["reader", "editor", "owner"];

#[derive(Debug)]
struct Shared {
    author: &'static str,
    text: String,
    circles: BTreeSet<&'static str>,
}

#[derive(Default)]
struct Model {
    roles: BTreeMap<(&'static str, &'static str), &'static str>,
    memories: BTreeMap<String, Shared>,
}

impl Model {
    fn edits(&self, agent: &'static str, circle: &'static str) -> bool {
        self.roles.get(&(agent, circle)).is_some_and(|role| *role != "reader")
    }

    fn changes(&self, id: &str) -> bool {
        let memory = &self.memories[id];
        memory.circles.iter().all(|circle| self.edits(memory.author, circle))
    }

    /// Whether a circle that has owners would have none.
    fn orphans(&self, agent: &'static str, circle: &'static str) -> bool {
        let owns = |one: &&str| self.roles.get(&(*one, circle)) == Some(&"owner");
        owns(&agent) && AGENTS.iter().filter(|one| owns(one)).count() == 1
    }

    fn shared(&mut self, id: &str) -> &mut Shared {
        self.memories.get_mut(id).expect("a memory")
    }

    fn take_out(&mut self, circle: &str, of: impl Fn(&str) -> bool) {
        for memory in self.memories.values_mut().filter(|memory| of(memory.author)) {
            memory.circles.remove(circle);
        }
    }

    fn recalls(&self, agent: &str, private: bool, circles: &[&str]) -> BTreeSet<String> {
        let sees = |memory: &&Shared| {
            let member = |circle: &&str| circles.contains(circle) && self.roles.contains_key(&(agent, *circle));
            (private && memory.author == agent) || memory.circles.iter().any(member)
        };
        self.memories.values().filter(sees).map(|memory| memory.text.clone()).collect()
    }
}

/// What was done, how it was answered, and whether the model lets it be done.
type Done = (String, Answer, bool);

/// Does one thing at random; what the model refuses the server must refuse too.
async fn step(model: &mut Model, client: &Client, rng: &mut StdRng, n: usize) -> String {
    let (agent, circle) = (AGENTS[rng.random_range(0..3)], CIRCLES[rng.random_range(0..3)]);
    let ids: Vec<String> = model.memories.keys().cloned().collect();
    let (what, answer, allowed) = match rng.random_range(0..100) {
        0..20 => remember(model, client, rng, (agent, n)).await,
        20..60 if !ids.is_empty() => {
            let id = &ids[rng.random_range(0..ids.len())];
            let author = model.memories[id].author;
            let caller = if rng.random() { client.acting_as(author) } else { client.clone() };
            match rng.random_range(0..40) {
                0..15 => share(model, &caller, id, circle).await,
                15..22 => unshare(model, &caller, id, circle).await,
                22..35 => edit(model, &caller, id, n).await,
                _ => forget(model, &caller, id).await,
            }
        }
        20..78 => {
            let role = ROLES[rng.random_range(0..3)];
            let allowed = role == "owner" || !model.orphans(agent, circle);
            if allowed {
                model.roles.insert((agent, circle), role);
            }
            let answer = client.put(&format!("/v1/circles/{circle}/members/{agent}"), json!({"role": role})).await;
            (format!("{agent} becomes {role}"), answer, allowed)
        }
        78..94 => leave(model, client, (agent, circle), rng.random()).await,
        94..98 => end_circle(model, client, circle).await,
        _ => erase(model, client, agent).await,
    };
    assert_eq!(answer.status < 300, allowed, "{what} in {circle}: {}", answer.text);
    format!("{what} in {circle}: {}", answer.status)
}

async fn remember(model: &mut Model, client: &Client, rng: &mut StdRng, (agent, n): (&'static str, usize)) -> Done {
    let text = format!("stone {n}");
    let circles: BTreeSet<_> = CIRCLES.into_iter().filter(|_| rng.random_bool(0.3)).collect();
    let new = json!({"content": text, "circles": circles});
    let answer = client.post(&format!("/v1/agents/{agent}/remember"), new).await;
    let allowed = circles.iter().all(|circle| model.edits(agent, circle));
    if allowed {
        let id = answer.expect(201)["id"].as_str().expect("an id").to_owned();
        model.memories.insert(id, Shared { author: agent, text, circles });
    }
    (format!("{agent} remembers"), answer, allowed)
}

async fn share(model: &mut Model, caller: &Client, id: &str, circle: &'static str) -> Done {
    let allowed = model.edits(model.memories[id].author, circle);
    if allowed {
        model.shared(id).circles.insert(circle);
    }
    ("share".into(), caller.put_nothing(&format!("/v1/memories/{id}/circles/{circle}")).await, allowed)
}

async fn unshare(model: &mut Model, caller: &Client, id: &str, circle: &'static str) -> Done {
    // A back end may always; the author as long as it is editor.
    let may = !caller.is_acting() || model.edits(model.memories[id].author, circle);
    let allowed = may && model.shared(id).circles.remove(circle);
    ("unshare".into(), caller.delete(&format!("/v1/memories/{id}/circles/{circle}")).await, allowed)
}

async fn edit(model: &mut Model, caller: &Client, id: &str, n: usize) -> Done {
    let (text, allowed) = (format!("stone {n} anew"), model.changes(id));
    if allowed {
        model.shared(id).text.clone_from(&text);
    }
    ("edit".into(), caller.patch(&format!("/v1/memories/{id}"), json!({"content": text})).await, allowed)
}

async fn forget(model: &mut Model, caller: &Client, id: &str) -> Done {
    model.memories.remove(id);
    ("forget".into(), caller.delete(&format!("/v1/memories/{id}")).await, true)
}

async fn leave(
    model: &mut Model,
    client: &Client,
    (agent, circle): (&'static str, &'static str),
    unshare: bool,
) -> Done {
    let allowed = !model.orphans(agent, circle) && model.roles.remove(&(agent, circle)).is_some();
    if allowed && unshare {
        model.take_out(circle, |author| author == agent);
    }
    let path = format!("/v1/circles/{circle}/members/{agent}?unshare={unshare}");
    (format!("{agent} goes, unshare={unshare}"), client.delete(&path).await, allowed)
}

async fn end_circle(model: &mut Model, client: &Client, circle: &'static str) -> Done {
    let answer = client.delete(&format!("/v1/circles/{circle}")).await;
    circle_of(client, circle, &[]).await;
    model.roles.retain(|(_, other), _| *other != circle);
    model.take_out(circle, |_| true);
    ("it ends and begins anew".into(), answer, true)
}

async fn erase(model: &mut Model, client: &Client, agent: &'static str) -> Done {
    let answer = client.delete(&format!("/v1/agents/{agent}")).await;
    client.put(&format!("/v1/agents/{agent}"), json!({})).await.expect(201);
    model.roles.retain(|(other, _), _| *other != agent);
    model.memories.retain(|_, memory| memory.author != agent);
    (format!("{agent} is erased and begins anew"), answer, true)
}

/// What an agent recalls; none: a circle that it is no member of.
async fn recalled(client: &Client, agent: &str, within: &Value) -> Option<BTreeSet<String>> {
    let ask = json!({"query": "stone", "k": 100, "mode": "semantic", "within": within});
    let answer = client.post(&format!("/v1/agents/{agent}/recall"), ask).await;
    if answer.status == 404 {
        return None;
    }
    let answer = answer.expect(200);
    let results = answer["results"].as_array().expect("results").iter();
    let texts: Vec<String> =
        results.map(|result| result["memory"]["content"].as_str().expect("content").to_owned()).collect();
    let distinct: BTreeSet<String> = texts.iter().cloned().collect();
    assert_eq!(distinct.len(), texts.len(), "each once");
    Some(distinct)
}

async fn compare(model: &Model, client: &Client, history: &[String]) {
    for agent in AGENTS {
        let all = recalled(client, agent, &json!("all")).await;
        assert_eq!(all, Some(model.recalls(agent, true, &CIRCLES)), "{agent}, all: {history:#?}");
        let private = recalled(client, agent, &json!("private")).await;
        assert_eq!(private, Some(model.recalls(agent, true, &[])), "{agent}, private: {history:#?}");
        for circle in CIRCLES {
            let within = recalled(client, agent, &json!({"circles": [circle]})).await;
            let is_member = model.roles.contains_key(&(agent, circle));
            let expected = is_member.then(|| model.recalls(agent, false, &[circle]));
            assert_eq!(within, expected, "{agent}, {circle}: {history:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happened_each_agent_recalls_what_the_model_says() {
    let app = TestApp::start().await;
    let other = app.sibling().await;
    let mut superuser = app.database.superuser().await;
    for seed in 0..10 {
        let tenant = app.new_tenant().await;
        let clients = [tenant.client.clone(), tenant.at(other.url())];
        for agent in AGENTS {
            tenant.put(&format!("/v1/agents/{agent}"), json!({})).await.expect(201);
        }
        for circle in CIRCLES {
            circle_of(&tenant, circle, &[]).await;
        }
        let (mut model, mut rng) = (Model::default(), StdRng::seed_from_u64(seed));
        let mut history = vec![format!("seed {seed}")];
        for n in 0..60 {
            history.push(step(&mut model, &clients[n % 2], &mut rng, n).await);
            if n % 4 == 3 {
                compare(&model, &clients[(n / 4) % 2], &history).await;
                assert_consistent(&mut superuser, &tenant, &format!("{history:#?}")).await;
            }
        }
    }
}
