//! Sharing a memory with a circle, and taking it back: who may, and what everyone then sees.

use reqwest::Method;
use serde_json::{Value, json};

use crate::circles::{circle_of, in_circle, path_in, path_of};
use crate::harness::{Answer, Client, Tenant, TestApp};

/// Ada edits, Bob owns, Eve reads; Mal is an agent too.
async fn scene(app: &TestApp) -> Tenant {
    let tenant = app.new_tenant().await;
    circle_of(&tenant, "c", &[("ada", "editor"), ("bob", "owner"), ("eve", "reader")]).await;
    tenant.put("/v1/agents/mal", json!({})).await.expect(201);
    tenant
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_memory_is_seen_by_every_member_from_the_next_call_on() {
    let app = TestApp::start().await;
    let (tenant, there) = (scene(&app).await, app.sibling().await);
    let memory = tenant.remember("ada", "The kettle is broken.").await;
    let (ada, eve) = (tenant.acting_as("ada"), tenant.at(there.url()).acting_as("eve"));
    let ask = json!({"query": "kettle"});
    assert!(eve.recalled("eve", ask.clone()).await.is_empty());
    eve.get(&path_of(&memory)).await.assert_problem(404, "not_found");

    let first = ada.put_nothing(&path_in(&memory, "c")).await;
    let shared = first.expect(201);
    assert_eq!((&shared["circles"], &shared["version"]), (&json!(["c"]), &json!(1)), "sharing is no edit");
    assert_eq!(first.header("etag"), ada.get(&path_of(&memory)).await.header("etag"));
    assert_eq!(ada.put_nothing(&path_in(&memory, "c")).await.expect(200), shared);

    let found = eve.recall("eve", ask.clone()).await;
    assert_eq!(found["results"][0]["memory"], shared);
    assert_eq!(found["results"][0]["via"], json!({"type": "circle", "id": "c"}));
    assert_eq!(eve.get(&path_of(&memory)).await.expect(200), shared);
    assert_eq!(in_circle(&eve, "c").await, ["The kettle is broken."]);
    let history = eve.get(&format!("{}/history", path_of(&memory))).await;
    history.assert_problem(403, "not_author");
    eve.patch(&path_of(&memory), json!({"importance": 1})).await.assert_problem(403, "not_author");
    eve.delete(&path_of(&memory)).await.assert_problem(403, "not_author");

    ada.delete(&path_in(&memory, "c")).await.expect(204);
    assert!(eve.recalled("eve", ask).await.is_empty());
    eve.get(&path_of(&memory)).await.assert_problem(404, "not_found");
    assert!(in_circle(&eve, "c").await.is_empty());
    let unshared = ada.get(&path_of(&memory)).await.expect(200);
    assert_eq!((&unshared["circles"], &unshared["version"]), (&json!([]), &json!(1)));
    ada.delete(&path_in(&memory, "c")).await.assert_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_author_shares_as_editor_or_owner_and_nobody_else() {
    let app = TestApp::start().await;
    let tenant = scene(&app).await;
    let of = async |agent: &str| tenant.remember(agent, &format!("{agent}'s kettle")).await;
    let (ada, bob, eve, mal) = (of("ada").await, of("bob").await, of("eve").await, of("mal").await);
    let share = async |caller: &Client, memory: &Value| caller.put_nothing(&path_in(memory, "c")).await;
    let acting = |agent| tenant.acting_as(agent);

    share(&acting("eve"), &eve).await.assert_problem(403, "role_required");
    share(&tenant, &eve).await.assert_problem(403, "role_required");
    share(&acting("mal"), &mal).await.assert_problem(404, "not_found");
    share(&tenant, &mal).await.assert_problem(404, "not_found");
    share(&acting("bob"), &ada).await.assert_problem(404, "not_found");
    acting("ada").put_nothing(&path_in(&ada, "elsewhere")).await.assert_problem(404, "not_found");

    share(&acting("ada"), &ada).await.expect(201);
    share(&tenant, &bob).await.expect(201);
    circle_of(&tenant, "d", &[("bob", "owner")]).await;
    acting("bob").put_nothing(&path_in(&ada, "d")).await.assert_problem(403, "not_author");
    acting("eve").put_nothing(&path_in(&ada, "c")).await.assert_problem(403, "not_author");
    share(&acting("mal"), &ada).await.assert_problem(404, "not_found");

    let reader = app.client(tenant.id, "memories:read,circles:manage", None).await;
    share(&reader, &ada).await.assert_problem(403, "insufficient_scope");
    acting("ada").put_nothing("/v1/memories/x/circles/c").await.assert_problem(422, "invalid_id");
    let malformed = acting("ada").put_nothing(&path_in(&ada, "a%20b")).await;
    assert_eq!(malformed.assert_problem(422, "invalid_id")["errors"][0]["pointer"], "/circle_id");
    let random = uuid::Uuid::now_v7();
    acting("ada").put_nothing(&format!("/v1/memories/{random}/circles/c")).await.assert_problem(404, "not_found");
    assert_eq!(in_circle(&tenant, "c").await, ["bob's kettle", "ada's kettle"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shared_it_unshares_it_and_so_does_any_owner() {
    let app = TestApp::start().await;
    let tenant = scene(&app).await;
    circle_of(&tenant, "d", &[("ada", "owner"), ("bob", "reader")]).await;
    let memory = tenant.remember_as("ada", json!({"content": "kettle", "circles": ["c"]})).await;
    let unshare = async |caller: &Client| caller.delete(&path_in(&memory, "c")).await;
    let again = async || drop(tenant.put_nothing(&path_in(&memory, "c")).await.expect(201));
    let acting = |agent| tenant.acting_as(agent);

    unshare(&acting("mal")).await.assert_problem(404, "not_found");
    let refused = unshare(&acting("eve")).await.assert_problem(403, "role_required");
    assert_eq!(refused["detail"], "your role in this circle is reader; this takes owner");
    acting("eve").delete(&path_in(&memory, "d")).await.assert_problem(404, "not_found");
    acting("bob").delete(&path_in(&memory, "d")).await.assert_problem(403, "role_required");
    acting("ada").delete(&path_in(&memory, "d")).await.assert_problem(404, "not_found");

    unshare(&acting("ada")).await.expect(204);
    again().await;
    unshare(&acting("bob")).await.expect(204);
    again().await;
    let writer = app.client(tenant.id, "memories:write", None).await;
    unshare(&writer).await.expect(204);
    again().await;

    // From here on the author could not do it itself.
    tenant.put("/v1/circles/c/members/ada", json!({"role": "reader"})).await.expect(200);
    unshare(&acting("ada")).await.assert_problem(403, "role_required");
    unshare(&writer).await.assert_problem(403, "insufficient_scope");
    tenant.delete("/v1/circles/c/members/ada").await.expect(204);
    unshare(&acting("ada")).await.assert_problem(404, "not_found");
    unshare(&writer).await.assert_problem(403, "insufficient_scope");
    unshare(&tenant).await.expect(204);
    unshare(&tenant).await.assert_problem(404, "not_found");
    tenant.delete(&path_in(&memory, "elsewhere")).await.assert_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn unsharing_honours_the_version_seen_and_a_key_honours_the_first_sending() {
    let app = TestApp::start().await;
    let tenant = scene(&app).await;
    let memory = tenant.remember("ada", "kettle").await;
    let once = async |method: Method, key: &str| {
        tenant.send(tenant.request(method, &path_in(&memory, "c")).header("idempotency-key", key)).await
    };
    let (first, again) = (once(Method::PUT, "in").await, once(Method::PUT, "in").await);
    assert_eq!(first.expect(201), again.expect(201));
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));

    let seen = tenant.get(&path_of(&memory)).await.header("etag").to_owned();
    tenant.patch(&path_of(&memory), json!({"importance": 0.1})).await.expect(200);
    let stale = tenant.request(Method::DELETE, &path_in(&memory, "c")).header("if-match", seen);
    tenant.send(stale).await.assert_problem(412, "precondition_failed");

    once(Method::DELETE, "out").await.expect(204);
    tenant.put_nothing(&path_in(&memory, "c")).await.expect(201);
    assert_eq!(once(Method::DELETE, "out").await.header("idempotency-replayed"), "true");
    assert_eq!(in_circle(&tenant, "c").await, ["kettle"], "it happened once");
    tenant.delete(&path_of(&memory)).await.expect(204);
    once(Method::PUT, "in").await.assert_problem(410, "gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn remember_shares_at_once_and_a_key_says_exactly_with_whom() {
    let app = TestApp::start().await;
    let tenant = scene(&app).await;
    for name in ["d", "e"] {
        circle_of(&tenant, name, &[("ada", "owner")]).await;
    }
    let remember = async |memory: Value| tenant.post("/v1/agents/ada/remember", memory).await;
    let keyed = |content: &str, circles: Value| json!({"content": content, "key": "k", "circles": circles});
    let said = |answer: &Value| (answer["circles"].clone(), answer["version"].clone());

    let created = remember(keyed("one", json!(["d", "c"]))).await.expect(201);
    assert_eq!(said(&created), (json!(["c", "d"]), json!(1)));
    assert_eq!(in_circle(&tenant, "c").await, ["one"]);
    let replaced = remember(keyed("two", json!(["e", "d"]))).await.expect(200);
    assert_eq!(said(&replaced), (json!(["d", "e"]), json!(2)));
    for (circle, expected) in [("c", vec![]), ("d", vec!["two"]), ("e", vec!["two"])] {
        assert_eq!(in_circle(&tenant, circle).await, expected, "{circle}");
    }
    let kept = remember(json!({"content": "three", "key": "k"})).await.expect(200);
    assert_eq!(said(&kept), (json!(["d", "e"]), json!(3)), "left out, they stay");
    let same = remember(keyed("three", json!(["e", "d"]))).await;
    assert_eq!((said(&same.expect(200)), same.header("cairn-duplicate")), (said(&kept), ""));
    let moved = remember(keyed("three", json!(["c"]))).await.expect(200);
    assert_eq!(said(&moved), (json!(["c"]), json!(3)), "what it says is the same");
    assert_eq!(said(&remember(keyed("three", json!([]))).await.expect(200)), (json!([]), json!(3)));
    assert!(in_circle(&tenant, "c").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_content_is_shared_more_widely_and_nothing_else_changes() {
    let app = TestApp::start().await;
    let tenant = scene(&app).await;
    circle_of(&tenant, "d", &[("ada", "editor")]).await;
    let remember = async |memory: Value| tenant.post("/v1/agents/ada/remember", memory).await;
    let first = remember(json!({"content": "kettle", "tags": ["t"]})).await.expect(201);
    let mut before = first.clone();
    for circle in ["c", "d"] {
        let again = remember(json!({"content": "kettle", "circles": [circle]})).await;
        assert_eq!(again.header("cairn-duplicate"), "true");
        let mut expected = before.clone();
        expected["circles"].as_array_mut().expect("a list").push(json!(circle));
        before = again.expect(200);
        assert_eq!(before, expected);
        assert_eq!(in_circle(&tenant, circle).await, ["kettle"]);
    }
    let unchanged = remember(json!({"content": "kettle", "circles": []})).await.expect(200);
    assert_eq!(unchanged, before, "nothing is taken back");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_shared_is_not_remembered_either() {
    let app = TestApp::start().await;
    let tenant = scene(&app).await;
    let shared = |content: &str, circles: Value| json!({"content": content, "circles": circles});
    let remember =
        async |agent: &str, memory: Value| tenant.post(&format!("/v1/agents/{agent}/remember"), memory).await;
    remember("eve", shared("x", json!(["c"]))).await.assert_problem(403, "role_required");
    remember("mal", shared("x", json!(["c"]))).await.assert_problem(404, "not_found");
    remember("new", shared("x", json!(["c"]))).await.assert_problem(404, "not_found");
    tenant.get("/v1/agents/new").await.assert_problem(404, "not_found");
    remember("ada", shared("x", json!(["c", "elsewhere"]))).await.assert_problem(404, "not_found");
    let twice = remember("ada", shared("x", json!(["c", "d", "c"]))).await;
    assert_eq!(twice.assert_problem(422, "duplicate_item")["errors"][0]["pointer"], "/circles/2");
    let many: Vec<String> = (0..65).map(|n| format!("c{n}")).collect();
    let many = remember("ada", shared("x", json!(many))).await;
    assert_eq!(many.assert_problem(422, "too_many_items")["errors"][0]["pointer"], "/circles");

    let batch = json!({"memories": [shared("a", json!(["c"])), shared("b", json!(["elsewhere"]))]});
    tenant.post("/v1/agents/ada/remember/batch", batch).await.assert_problem(404, "not_found");
    for agent in ["ada", "eve", "mal"] {
        assert_eq!(tenant.get(&format!("/v1/agents/{agent}/stats")).await.expect(200)["memories"], 0, "{agent}");
    }
    assert!(in_circle(&tenant, "c").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_shares_each_of_its_memories_as_it_says() {
    let app = TestApp::start().await;
    let tenant = scene(&app).await;
    circle_of(&tenant, "d", &[("ada", "editor")]).await;
    tenant.remember_as("ada", json!({"content": "old", "key": "k", "circles": ["c"]})).await;
    tenant.remember("ada", "known").await;
    let batch = json!({"memories": [
        {"content": "new", "circles": ["c"]},
        {"content": "new", "circles": ["d"]},
        {"content": "old", "key": "k", "circles": ["d"]},
        {"content": "known", "circles": ["c", "d"]},
        {"content": "private"},
    ]});
    let items = tenant.post("/v1/agents/ada/remember/batch", batch.clone()).await.expect(200)["items"].clone();
    let came: Vec<(&Value, &Value)> =
        items.as_array().expect("items").iter().map(|item| (&item["outcome"], &item["memory"]["circles"])).collect();
    let both = json!(["c", "d"]);
    let expected = [("created", both.clone()), ("duplicate", both.clone()), ("replaced", json!(["d"]))];
    let expected = expected.into_iter().chain([("duplicate", both), ("created", json!([]))]);
    assert!(
        came.iter().map(|(outcome, circles)| (outcome.as_str().expect("text"), (*circles).clone())).eq(expected),
        "{came:?}"
    );
    assert_eq!(in_circle(&tenant, "c").await, ["new", "known"]);
    let again = tenant.post("/v1/agents/ada/remember/batch", batch).await.expect(200)["items"].clone();
    assert!(again.as_array().expect("items").iter().all(|item| item["outcome"] == "duplicate"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_says_exactly_with_whom_it_is_shared() {
    let app = TestApp::start().await;
    let tenant = scene(&app).await;
    circle_of(&tenant, "d", &[("ada", "owner"), ("eve", "reader")]).await;
    let memory = tenant.remember_as("ada", json!({"content": "kettle", "circles": ["c"]})).await;
    let (ada, eve) = (tenant.acting_as("ada"), tenant.acting_as("eve"));
    let patch = async |caller: &Client, patch: Value| caller.patch(&path_of(&memory), patch).await;
    let moved = patch(&ada, json!({"circles": ["d"]})).await;
    assert_eq!((&moved.expect(200)["circles"], &moved.json()["version"]), (&json!(["d"]), &json!(1)));
    assert!(in_circle(&tenant, "c").await.is_empty());
    let both = patch(&tenant, json!({"circles": ["c", "d"], "content": "the kettle"})).await.expect(200);
    assert_eq!((&both["circles"], &both["version"]), (&json!(["c", "d"]), &json!(2)));
    assert_eq!(eve.recalled("eve", json!({"query": "kettle"})).await, ["the kettle"]);
    patch(&eve, json!({"circles": []})).await.assert_problem(403, "not_author");
    patch(&ada, json!({"circles": ["c", "elsewhere"]})).await.assert_problem(404, "not_found");
    patch(&ada, json!({"circles": ["c", "c"]})).await.assert_problem(422, "duplicate_item");
    let cleared = patch(&ada, json!({"circles": null})).await.expect(200);
    assert_eq!((&cleared["circles"], &cleared["version"]), (&json!([]), &json!(2)));
    assert!(in_circle(&tenant, "c").await.is_empty() && in_circle(&tenant, "d").await.is_empty());
    let versions = ada.get(&format!("{}/history", path_of(&memory))).await.expect(200);
    assert_eq!(versions["items"].as_array().map(Vec::len), Some(2), "sharing is no version");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_and_a_forget_reach_every_circle() {
    let app = TestApp::start().await;
    let tenant = scene(&app).await;
    circle_of(&tenant, "d", &[("ada", "editor"), ("mal", "reader")]).await;
    let memory = tenant.remember_as("ada", json!({"content": "a stone", "circles": ["c", "d"]})).await;
    tenant.patch(&path_of(&memory), json!({"content": "a feather", "tags": ["t"]})).await.expect(200);
    let filtered = json!({"query": "feather", "mode": "lexical", "filter": {"tags_any": ["t"]}});
    for agent in ["ada", "bob", "eve", "mal"] {
        assert_eq!(tenant.recalled(agent, filtered.clone()).await, ["a feather"], "{agent}");
        assert!(tenant.recalled(agent, json!({"query": "stone", "mode": "lexical"})).await.is_empty(), "{agent}");
    }
    tenant.delete(&path_of(&memory)).await.expect(204);
    for agent in ["ada", "bob", "eve", "mal"] {
        assert!(tenant.recalled(agent, json!({"query": "feather"})).await.is_empty(), "{agent}");
    }
    assert!(in_circle(&tenant, "c").await.is_empty() && in_circle(&tenant, "d").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_names_only_the_circles_that_the_caller_may_see() {
    let app = TestApp::start().await;
    let tenant = scene(&app).await;
    circle_of(&tenant, "d", &[("ada", "editor"), ("eve", "reader")]).await;
    let memory = tenant.remember_as("ada", json!({"content": "kettle", "circles": ["c", "d"]})).await;
    let seen = async |agent: &str| tenant.acting_as(agent).get(&path_of(&memory)).await.expect(200)["circles"].clone();
    assert_eq!((seen("bob").await, seen("eve").await), (json!(["c"]), json!(["c", "d"])));
    let listed: Answer = tenant.acting_as("bob").get("/v1/circles/c/memories").await;
    assert_eq!(listed.expect(200)["items"][0]["circles"], json!(["c"]));
    let asked = json!({"query": "kettle", "within": {"circles": ["d"]}});
    let found = tenant.recall("eve", asked).await["results"][0].clone();
    assert_eq!((&found["memory"]["circles"], &found["via"]["id"]), (&json!(["d"]), &json!("d")));
}
