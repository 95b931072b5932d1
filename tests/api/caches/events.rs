//! Events free memory early. Losing, repeating and reordering them changes no answer.

use std::time::Duration;

use cairn::cache::Kind;
use cairn::events::{Delivery, Event, Notice, Origin};
use cairn::ids::TenantId;
use serde_json::{Value, json};

use super::{Pair, ask, kettle, source};
use crate::harness::{Client, TestApp};

/// Entries of a kind in the local layer of a server, of one tenant.
fn held(app: &TestApp, pair: &Pair, kind: Kind) -> u64 {
    app.app.cache.tidy();
    app.app.cache.stats().of(pair.tenant.id).0.local(kind).0
}

async fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..250 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_frees_what_it_made_worthless_here_there_and_in_redis() {
    let pair = Pair::start().await;
    pair.tenant.remember("ada", "The kettle is in the kitchen.").await;
    pair.tenant.remember("bob", "The hammer is in the shed.").await;
    for agent in ["ada", "bob"] {
        ask(&pair.tenant, agent, kettle()).await;
        pair.wait_for_keys(&format!("rag:agent:{agent}:"), 1).await;
        assert_eq!(source(&ask(&pair.other(), agent, kettle()).await), "hit redis");
    }
    // Answers that came from Redis and those that were computed here.
    assert_eq!((held(&pair.here, &pair, Kind::Recall), held(&pair.there, &pair, Kind::Recall)), (2, 2));
    pair.tenant.remember("ada", "The other kettle is in the attic.").await;
    wait_for("it is dropped here", || held(&pair.here, &pair, Kind::Recall) == 1).await;
    wait_for("it is dropped there", || held(&pair.there, &pair, Kind::Recall) == 1).await;
    pair.wait_for_keys("rag:agent:ada:", 0).await;
    assert_eq!(pair.keys("rag:agent:bob:").await.len(), 1, "what did not change stays");
    assert!(source(&ask(&pair.other(), "bob", kettle()).await).starts_with("hit"));
}

/// Writes and recalls in turn, on both servers; every write shows in the next recall.
async fn converse(pair: &Pair) {
    let other = pair.other();
    let clients: [&Client; 2] = [&pair.tenant, &other];
    for round in 0..15 {
        let content = format!("Kettle number {round}.");
        let memory = clients[round % 2].remember("ada", &content).await;
        for client in clients {
            for _ in 0..2 {
                let answer = ask(client, "ada", json!({"query": "kettle", "k": 50})).await;
                assert!(answer.text.contains(&content), "round {round}: {}", source(&answer));
            }
        }
        if round % 3 == 0 {
            clients[(round + 1) % 2].delete(&path(&memory)).await.expect(204);
            for client in clients {
                let answer = ask(client, "ada", json!({"query": "kettle", "k": 50})).await;
                assert!(!answer.text.contains(&content), "round {round}: {}", source(&answer));
            }
        }
    }
}

fn path(memory: &Value) -> String {
    format!("/v1/memories/{}", memory["id"].as_str().expect("an id"))
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_right_when_no_event_is_delivered() {
    let pair = Pair::start().await;
    for app in [&pair.here, &pair.there] {
        app.app.bus.close();
    }
    converse(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_right_when_every_event_comes_twice_and_late() {
    let pair = Pair::start().await;
    for app in [&pair.here, &pair.there] {
        let bus = app.app.bus.clone();
        let mut heard = bus.subscribe("echo");
        tokio::spawn(async move {
            while let Some(Delivery::Notice(notice)) = heard.next().await {
                if notice.origin == Origin::Elsewhere {
                    continue;
                }
                let (bus, echo) = (bus.clone(), Notice { origin: Origin::Elsewhere, ..Notice::clone(&notice) });
                tokio::spawn(async move {
                    // Each overtakes some of those before it.
                    for _ in 0..2 {
                        let pause = 5 + u64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 4;
                        tokio::time::sleep(Duration::from_millis(pause)).await;
                        bus.publish(echo.clone());
                    }
                });
            }
        });
    }
    converse(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_tenant_leaves_nothing_behind() {
    let pair = Pair::start().await;
    pair.tenant.remember("ada", "The kettle is in the kitchen.").await;
    ask(&pair.tenant, "ada", kettle()).await;
    pair.wait_for_keys("rag:", 1).await;
    assert_eq!(source(&ask(&pair.other(), "ada", kettle()).await), "hit redis");
    let operator = pair.here.client(TenantId::OPERATOR, "platform", None).await;
    operator.delete(&format!("/v1/platform/tenants/{}", pair.tenant.id)).await.expect(202);
    let answer = pair.other().post("/v1/agents/ada/recall", kettle()).await;
    answer.assert_problem(401, "unauthenticated");
    pair.wait_for_keys("", 0).await;
}

/// One thread: while it publishes, nobody listens.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_lagged_behind_starts_with_an_empty_local_layer() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "The kettle is in the kitchen.").await;
    for expected in ["miss", "hit local"] {
        assert_eq!(source(&ask(&tenant, "ada", kettle()).await), expected);
    }
    let bus = app.app.bus.clone();
    let flood = tokio::spawn(async move {
        for _ in 0..6_000 {
            let event = Event::TenantUpdated;
            bus.publish(Notice { tenant: TenantId::new(), scopes: Vec::new(), event, origin: Origin::Here });
        }
    });
    flood.await.expect("published");
    let counts = || app.app.cache.stats().of(tenant.id).0.local(Kind::Recall).0;
    wait_for("the local layer is empty", || {
        app.app.cache.tidy();
        counts() == 0
    })
    .await;
    let metrics = app.stranger().get("/metrics").await.text;
    let lagged = metrics.lines().find(|line| line.starts_with("cairn_events_lagged_total{subscriber=\"cache\"}"));
    let lost = lagged.and_then(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
    assert!(lost > Some(1_000), "{lagged:?}");
    assert_eq!(source(&ask(&tenant, "ada", kettle()).await), "miss");
}
