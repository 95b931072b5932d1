//! What is counted holds, whoever tries to break it, on whichever instance.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::circles::{circle_of, members_of};
use crate::harness::{Answer, Client, TestApp};

const CALLERS: usize = 16;

/// Calls from two instances at once; the statuses they came to.
async fn at_once<F, Fut>(callers: [&Client; 2], call: F) -> Vec<u16>
where
    F: Fn(Client, usize) -> Fut,
    Fut: Future<Output = Answer> + Send + 'static,
{
    let start = Arc::new(tokio::sync::Barrier::new(CALLERS));
    let calls: Vec<_> = (0..CALLERS)
        .map(|n| {
            let (start, call) = (start.clone(), call(callers[n % 2].at(callers[n % 2].url()), n));
            tokio::spawn(async move {
                start.wait().await;
                call.await
            })
        })
        .collect();
    let mut statuses = Vec::new();
    for call in calls {
        let answer = call.await.expect("a caller");
        assert!([200, 201, 204, 409].contains(&answer.status), "{}", answer.text);
        statuses.push(answer.status);
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_owners_that_leave_at_once_leave_one_behind() {
    let app = TestApp::start().await;
    let (other, tenant) = (app.sibling().await, app.new_tenant().await);
    let there = tenant.at(other.url());
    for round in 0..5 {
        let name = format!("c{round}");
        let owners: Vec<String> = (0..CALLERS).map(|n| format!("owner-{n}")).collect();
        let members: Vec<(&str, &str)> = owners.iter().map(|owner| (owner.as_str(), "owner")).collect();
        circle_of(&tenant, &name, &members).await;
        let statuses = at_once([&tenant, &there], |client, n| {
            let path = format!("/v1/circles/{name}/members/owner-{n}");
            async move {
                match n % 3 {
                    // Leaving, being removed, and becoming an editor.
                    0 => client.acting_as(&format!("owner-{n}")).delete(&path).await,
                    1 => client.delete(&path).await,
                    _ => client.put(&path, json!({"role": "editor"})).await,
                }
            }
        });
        let refused = statuses.await.into_iter().filter(|status| *status == 409).count();
        let owners = members_of(&tenant, &name).await.into_iter().filter(|(_, role)| role == "owner").count();
        assert_eq!((refused, owners), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_in_64_circles_at_most() {
    let app = TestApp::start().await;
    let (other, tenant) = (app.sibling().await, app.new_tenant().await);
    let there = tenant.at(other.url());
    for n in 0..60 {
        tenant.acting_as("ada").put(&format!("/v1/circles/c{n}"), json!({"name": "c"})).await.expect(201);
    }
    for n in 0..CALLERS {
        circle_of(&tenant, &format!("more{n}"), &[]).await;
    }
    let statuses = at_once([&tenant, &there], |client, n| async move {
        match n % 3 {
            0 => client.put(&format!("/v1/circles/more{n}/members/ada"), json!({"role": "reader"})).await,
            1 => client.acting_as("ada").put(&format!("/v1/circles/own{n}"), json!({"name": "c"})).await,
            _ => client.put(&format!("/v1/circles/more{n}"), json!({"name": "c", "owner": "ada"})).await,
        }
    });
    let refused = statuses.await.into_iter().filter(|status| *status == 409).count();
    assert_eq!(refused, CALLERS - 4);
    let circles = tenant.get("/v1/agents/ada/stats").await.expect(200)["circles"].clone();
    assert_eq!(circles, 64);
    let last = tenant.acting_as("ada").put("/v1/circles/one-more", json!({"name": "c"})).await;
    last.assert_problem(409, "limit_reached");
    tenant.get("/v1/circles/one-more").await.assert_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_has_10000_members_at_most() {
    let app = TestApp::start().await;
    let (other, tenant) = (app.sibling().await, app.new_tenant().await);
    let there = tenant.at(other.url());
    circle_of(&tenant, "c", &[]).await;
    let list = |from: usize, to: usize| {
        let members: Vec<Value> =
            (from..to).map(|n| json!({"agent_id": format!("m{n:05}"), "role": "reader"})).collect();
        json!({"members": members})
    };
    for part in 0..9 {
        tenant.put("/v1/circles/c/members", list(part * 1_000, (part + 1) * 1_000)).await.expect(200);
    }
    // Overlapping lists: each adds 300 that nobody else adds, of which there is room for 1,000.
    let statuses = at_once([&tenant, &there], |client, n| {
        let members = list(8_900 + n * 300 + 100, 8_900 + (n + 1) * 300 + 100);
        async move { client.put("/v1/circles/c/members", members).await }
    });
    let added = statuses.await.into_iter().filter(|status| *status == 200).count();
    assert_eq!(added, 3, "900 more and no fourth list");
    let one = tenant.put("/v1/circles/c/members", list(20_000, 20_101)).await;
    one.assert_problem(409, "limit_reached");
    tenant.put("/v1/circles/c/members", list(20_000, 20_100)).await.expect(200);
    tenant.put("/v1/circles/c/members/one-more", json!({"role": "reader"})).await.assert_problem(409, "limit_reached");
    tenant.put("/v1/circles/c/members/m00000", json!({"role": "editor"})).await.expect(200);
    assert_eq!(tenant.delete("/v1/circles/c").await.expect(200)["members"], 10_000);
}
