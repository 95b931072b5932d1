//! Cursors: nobody can make, move or keep one, and a walk through a list misses nothing that stays.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::harness::{Client, Tenant, TestApp};

const LISTS: [&str; 2] = ["/v1/agents?limit=2", "/v1/agents/ada/memories?limit=2"];

/// Five agents, and five memories of one of them.
async fn fill(tenant: &Tenant) {
    for n in 0..5 {
        tenant.remember("ada", &format!("Stone {n} lies in the garden.")).await;
        tenant.remember(&format!("agent-{n}"), "The kettle is broken.").await;
    }
}

async fn cursor(client: &Client, list: &str) -> String {
    client.get(list).await.expect(200)["next_cursor"].as_str().expect("a second page").to_owned()
}

async fn refuses(client: &Client, list: &str, cursor: &str) {
    client.get(&format!("{list}&cursor={cursor}")).await.assert_problem(400, "invalid_cursor");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_good_for_its_own_list_and_holder_only() {
    let app = TestApp::start().await;
    let (tenant, other) = (app.new_tenant().await, app.new_tenant().await);
    fill(&tenant).await;
    fill(&other).await;
    let colleague = app.client(tenant.id, "all", None).await;
    let [agents, memories] = LISTS;
    for list in LISTS {
        let cursor = cursor(&tenant, list).await;
        refuses(&other, list, &cursor).await;
        refuses(&colleague, list, &cursor).await;
        refuses(&tenant, &list.replace("limit=2", "limit=3"), &cursor).await;
        refuses(&tenant, if list == agents { memories } else { agents }, &cursor).await;
        tenant.get(&format!("{list}&cursor={cursor}")).await.expect(200);
    }
    let cursor = cursor(&tenant, memories).await;
    refuses(&tenant, &memories.replace("/ada/", "/agent-1/"), &cursor).await;
    refuses(&tenant, &format!("{memories}&kinds=fact"), &cursor).await;
    tenant.get(&format!("{memories}&cursor={cursor}")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_with_any_bit_flipped_or_cut_or_too_long_is_refused() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    fill(&tenant).await;
    for list in LISTS {
        let cursor = cursor(&tenant, list).await;
        let bytes = URL_SAFE_NO_PAD.decode(&cursor).expect("base64");
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            refuses(&tenant, list, &URL_SAFE_NO_PAD.encode(forged)).await;
        }
        for length in 0..cursor.len() {
            refuses(&tenant, list, &cursor[..length]).await;
        }
        refuses(&tenant, list, &"A".repeat(513)).await;
        refuses(&tenant, list, &format!("{cursor}=")).await;
        tenant.get(&format!("{list}&cursor={cursor}")).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_expires_a_day_later_by_the_clock_of_the_database() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    fill(&tenant).await;
    let mut superuser = app.database.superuser().await;
    for (hours, status) in [(0, 200), (23, 200), (25, 400)] {
        let cursor = cursor(&tenant, LISTS[1]).await;
        let set_clock = |hours: i32| {
            format!(
            "DO $$ DECLARE gate oid; BEGIN
                     FOR gate IN SELECT oid FROM pg_proc WHERE proname = 'pass_gate' AND pronamespace = 'cairn'::regnamespace LOOP
                         EXECUTE regexp_replace(pg_get_functiondef(gate),
                             'statement_timestamp\\(\\)( [+] interval ''[0-9]+ hours'')?,', 'statement_timestamp() + interval ''{hours} hours'',');
                     END LOOP;
                 END $$"
        )
        };
        sqlx::raw_sql(sqlx::AssertSqlSafe(set_clock(hours)))
            .execute(&mut superuser)
            .await
            .expect("a clock that is ahead");
        let answer = tenant.get(&format!("{}&cursor={cursor}", LISTS[1])).await;
        assert_eq!(answer.status, status, "after {hours} hours: {}", answer.text);
        if status == 400 {
            answer.assert_problem(400, "invalid_cursor");
        }
        sqlx::raw_sql(sqlx::AssertSqlSafe(set_clock(0))).execute(&mut superuser).await.expect("the right time");
    }
}

/// Walks through a list while something happens after each page; the ids it shows.
async fn walk(client: &Client, list: &str, meanwhile: impl AsyncFn(usize)) -> Vec<String> {
    let (mut seen, mut path) = (Vec::new(), list.to_owned());
    for page in 0.. {
        let answer = client.get(&path).await.expect(200);
        let ids = answer["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| item["id"].as_str().expect("an id").to_owned());
        seen.extend(ids);
        let Some(cursor) = answer["next_cursor"].as_str() else { break };
        path = format!("{list}&cursor={cursor}");
        meanwhile(page).await;
    }
    seen
}

fn assert_each_once(seen: &[String], stayed: &[String]) {
    for id in stayed {
        assert_eq!(seen.iter().filter(|other| *other == id).count(), 1, "{id} in {seen:?}");
    }
}

fn id(resource: &Value) -> String {
    resource["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_through_memories_that_change_shows_each_that_stays_once() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let (mut stayed, mut leaving) = (Vec::new(), Vec::new());
    for n in 0..12 {
        let memory = json!({"content": format!("Stone {n} lies in the garden."), "key": format!("stone-{n}")});
        stayed.push(id(&tenant.remember_as("ada", memory).await));
        leaving.push(id(&tenant.remember("ada", &format!("Leaf {n} falls.")).await));
    }
    let meanwhile = async |page: usize| {
        tenant.remember("ada", &format!("A new stone after page {page}.")).await;
        tenant.delete(&format!("/v1/memories/{}", leaving[11 - page])).await.expect(204);
        let moved = format!("/v1/memories/{}", stayed[page]);
        tenant.patch(&moved, json!({"content": format!("Stone {page} was moved."), "importance": 1})).await.expect(200);
        let replaced = json!({"content": format!("Stone {page} is new."), "key": format!("stone-{}", 11 - page)});
        tenant.post("/v1/agents/ada/remember", replaced).await.expect(200);
    };
    let seen = walk(&tenant, "/v1/agents/ada/memories?limit=3", meanwhile).await;
    assert_each_once(&seen, &stayed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_through_agents_that_come_and_go_shows_each_that_stays_once() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let name = |n: usize| format!("agent-{n:02}");
    for n in 0..12 {
        tenant.put(&format!("/v1/agents/{}", name(n)), json!({})).await.expect(201);
    }
    let meanwhile = async |page: usize| {
        tenant.put(&format!("/v1/agents/a-{page}"), json!({})).await.expect(201);
        tenant.put(&format!("/v1/agents/z-{page}"), json!({})).await.expect(201);
        tenant.put(&format!("/v1/agents/{}x", name(page * 2)), json!({})).await.expect(201);
        // Among them the one at which the next page begins.
        tenant.delete(&format!("/v1/agents/{}", name(page * 3 + 2))).await;
    };
    let stayed: Vec<String> = (0..12).filter(|n| n % 3 != 2).map(name).collect();
    let seen = walk(&tenant, "/v1/agents?limit=3", meanwhile).await;
    assert_each_once(&seen, &stayed);
}
