//! What remains of a share after it ended, what others are told, and in which form it is listed.

use std::time::Duration;

use cairn::events::{Delivery, Event};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::circles::{circle_of, path_in, path_of};
use crate::harness::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_says_who_shared_what_when_and_until_when() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "editor"), ("bob", "owner"), ("eve", "reader")]).await;
    let bound = app.client(tenant.id, "all", Some("ada")).await;
    let kettle = bound.remember_as("ada", json!({"content": "kettle", "kind": "decision", "circles": ["c"]})).await;
    let stone = tenant.remember("bob", "stone").await;
    tenant.put_nothing(&path_in(&stone, "c")).await.expect(201);
    bound.patch(&path_of(&kettle), json!({"kind": "error"})).await.expect(200);
    bound.delete(&path_in(&kettle, "c")).await.expect(204);
    bound.put_nothing(&path_in(&kettle, "c")).await.expect(201);
    tenant.delete(&path_of(&stone)).await.expect(204);

    let audit = tenant.acting_as("eve").get("/v1/circles/c/shares").await.expect(200);
    assert!(!audit.to_string().contains("kettle"), "it says nothing of what they say: {audit}");
    let shares = audit["items"].as_array().expect("shares");
    let brief = |share: &Value| {
        let text = |field: &str| share[field].as_str().unwrap_or("-").to_owned();
        (text("memory_id"), text("agent_id"), text("kind"), share["ended_at"].is_null())
    };
    let (kettle_id, stone_id) = (kettle["id"].as_str().expect("an id"), stone["id"].as_str().expect("an id"));
    let expected =
        [(kettle_id, "ada", "error", true), (stone_id, "bob", "fact", false), (kettle_id, "ada", "decision", false)];
    let expected = expected.map(|(id, agent, kind, open)| (id.to_owned(), agent.to_owned(), kind.to_owned(), open));
    assert_eq!(shares.iter().map(brief).collect::<Vec<_>>(), expected, "newest first");
    assert_eq!(shares[0]["shared_by"], shares[2]["shared_by"], "by the credential of ada");
    assert_eq!(shares[2]["ended_by"], shares[2]["shared_by"]);
    assert_ne!(shares[1]["ended_by"], shares[2]["ended_by"], "forgotten by the back end");
    assert!(shares[0]["ended_by"].is_null());
    assert!(shares[2]["ended_at"].as_str() <= shares[0]["shared_at"].as_str(), "{audit}");

    let of_one = tenant.get(&format!("/v1/circles/c/shares?memory_id={stone_id}")).await.expect(200);
    assert_eq!(of_one["items"], json!([shares[1]]));
    tenant.get("/v1/circles/c/shares?memory_id=x").await.assert_problem(422, "invalid_id");
    let first = tenant.get("/v1/circles/c/shares?limit=2").await.expect(200);
    let cursor = first["next_cursor"].as_str().expect("another page");
    let second = tenant.get(&format!("/v1/circles/c/shares?limit=2&cursor={cursor}")).await.expect(200);
    assert_eq!((&second["items"], &second["next_cursor"]), (&json!([shares[2]]), &json!(null)));
    for path in ["/v1/circles/c/shares", "/v1/circles/c/memories"] {
        tenant.acting_as("mal").get(path).await.assert_problem(404, "not_found");
        let reader = app.client(tenant.id, "memories:read", None).await;
        reader.get(path).await.assert_problem(403, "insufficient_scope");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_go_ends_the_share() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "owner")]).await;
    let shared = async |content: &str| {
        tenant.remember_as("ada", json!({"content": content, "tags": [content], "circles": ["c"]})).await
    };
    let open = async || {
        let shares = tenant.get("/v1/circles/c/shares").await.expect(200);
        shares["items"].as_array().expect("shares").iter().filter(|share| share["ended_at"].is_null()).count()
    };
    let forgotten = shared("forgotten").await;
    shared("matching").await;
    let expired = shared("expired").await;
    assert_eq!(open().await, 3);
    tenant.delete(&path_of(&forgotten)).await.expect(204);
    assert_eq!(open().await, 2);
    tenant.post("/v1/agents/ada/forget", json!({"filter": {"tags_any": ["matching"]}})).await.expect(200);
    assert_eq!(open().await, 1);
    tenant.patch(&path_of(&expired), json!({"expires_at": soon()})).await.expect(200);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(app.purge_expired(tenant.id, 10).await, 1);
    assert_eq!(open().await, 0);
    let left: i64 =
        sqlx::query_scalar("SELECT (SELECT count(*) FROM placements) + (SELECT count(*) FROM placement_terms)")
            .fetch_one(&mut app.database.superuser().await)
            .await
            .expect("counts");
    assert_eq!(left, 0);
}

fn soon() -> String {
    let soon = time::OffsetDateTime::now_utc() + Duration::from_secs(1);
    soon.format(&time::format_description::well_known::Rfc3339).expect("a time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_lists_its_memories_newest_first_page_by_page_and_filtered() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "editor"), ("bob", "owner")]).await;
    for n in 0..7 {
        let agent = ["ada", "bob"][n % 2];
        let memory = json!({"content": format!("stone {n}"), "tags": [format!("t{}", n % 3)], "circles": ["c"]});
        tenant.remember_as(agent, memory).await;
        tenant.remember(agent, &format!("private {n}")).await;
    }
    let list = async |query: &str| {
        let page = tenant.acting_as("ada").get(&format!("/v1/circles/c/memories?{query}")).await.expect(200);
        let numbers = page["items"].as_array().expect("items").iter();
        let numbers: String = numbers.map(|one| one["content"].as_str().expect("content")[6..].to_owned()).collect();
        (numbers, page["next_cursor"].as_str().map(ToOwned::to_owned))
    };
    assert_eq!(list("").await, ("6543210".into(), None));
    let (mut all, mut cursor) = list("limit=3").await;
    while let Some(next) = cursor {
        let (more, then) = list(&format!("limit=3&cursor={next}")).await;
        all += &more;
        cursor = then;
    }
    assert_eq!(all, "6543210");
    assert_eq!(list("tags_any=t0").await.0, "630");
    assert_eq!(list("agent_ids=bob").await.0, "531");
    assert_eq!(list("agent_ids=bob&tags_any=t0").await.0, "3");
    tenant.get("/v1/circles/c/memories?colour=red").await.assert_problem(422, "unknown_field");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_is_told_which_memories_came_into_which_circles_and_left() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    for circle in ["c", "d"] {
        circle_of(&tenant, circle, &[("ada", "owner")]).await;
    }
    let rows: Vec<(String, Uuid)> = sqlx::query_as("SELECT circle_id, circle_uid FROM circles ORDER BY 1")
        .fetch_all(&mut app.database.superuser().await)
        .await
        .expect("circles");
    let (c, d) = (rows[0].1, rows[1].1);
    let mut heard = app.app.bus.subscribe("test");
    let mut next = async || loop {
        let delivery = tokio::time::timeout(Duration::from_secs(10), heard.next()).await.expect("an event");
        let Some(Delivery::Notice(notice)) = delivery else { panic!("the bus is closed or lagged") };
        if notice.tenant == tenant.id {
            return (notice.event.clone(), notice.scopes.len());
        }
    };
    let memory = tenant.remember_as("ada", json!({"content": "kettle", "key": "k", "circles": ["c"]})).await;
    let memories = vec![memory["id"].as_str().expect("an id").parse::<Uuid>().expect("a UUID")];
    let shared = |circle: Uuid| Event::MemoryShared { memories: memories.clone(), circles: vec![circle] };
    let unshared = |circle: Uuid| Event::MemoryUnshared { memories: memories.clone(), circles: vec![circle] };
    assert_eq!(next().await, (Event::MemoryCreated { memories: memories.clone() }, 2));
    assert_eq!(next().await, (shared(c), 2), "of the author's scope and the circle's");
    tenant.put_nothing(&path_in(&memory, "d")).await.expect(201);
    assert_eq!(next().await, (shared(d), 3));
    tenant.delete(&path_in(&memory, "c")).await.expect(204);
    assert_eq!(next().await, (unshared(c), 3));
    tenant.patch(&path_of(&memory), json!({"circles": ["c"]})).await.expect(200);
    assert_eq!(next().await, (unshared(d), 3));
    assert_eq!(next().await, (shared(c), 3));
    tenant.delete(&path_of(&memory)).await.expect(204);
    assert_eq!(next().await, (Event::MemoryForgotten { memories }, 2));
}
