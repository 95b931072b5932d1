//! Two writers about one shared memory: whatever they do to each other, one came first, and what a circle sees is what
//! its audit says is shared.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::RngExt;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::circles::{assert_consistent, circle_of, path_in, path_of};
use crate::harness::proxy::Proxy;
use crate::harness::{Answer, Client, Tenant, TestApp};
use crate::writes::{deadlocks, wait_until_held_or};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    Edit,
    Replace,
    Forget,
    Share,
    Unshare,
    /// The author becomes a reader.
    Demote,
    /// The author goes, and takes along what it shared.
    Leave,
    DeleteCircle,
}

const ALL: [Act; 8] =
    [Act::Edit, Act::Replace, Act::Forget, Act::Share, Act::Unshare, Act::Demote, Act::Leave, Act::DeleteCircle];

const MEMORY: [Act; 4] = [Act::Edit, Act::Replace, Act::Share, Act::Unshare];

/// Ada's memory, in Bob's circle unless it is about to be shared.
struct Scene {
    tenant: Tenant,
    memory: serde_json::Value,
}

impl Scene {
    async fn set(app: &TestApp, shared: bool) -> Self {
        let tenant = app.new_tenant().await;
        circle_of(&tenant, "c", &[("ada", "editor"), ("bob", "owner")]).await;
        let circles = if shared { json!(["c"]) } else { json!([]) };
        let memory = tenant.remember_as("ada", json!({"content": "a stone", "key": "k", "circles": circles})).await;
        Self { tenant, memory }
    }

    async fn act(&self, act: Act, app: &TestApp) -> u16 {
        let client = self.tenant.at(app.url());
        let (ada, member) = (client.acting_as("ada"), "/v1/circles/c/members/ada");
        let answer: Answer = match act {
            Act::Edit => {
                let content = format!("stone {}", rand::rng().random::<u32>());
                ada.patch(&path_of(&self.memory), json!({"content": content})).await
            }
            Act::Replace => ada.post("/v1/agents/ada/remember", json!({"content": "another stone", "key": "k"})).await,
            Act::Forget => ada.delete(&path_of(&self.memory)).await,
            Act::Share => ada.put_nothing(&path_in(&self.memory, "c")).await,
            Act::Unshare => ada.delete(&path_in(&self.memory, "c")).await,
            Act::Demote => client.put(member, json!({"role": "reader"})).await,
            Act::Leave => ada.delete(&format!("{member}?unshare=true")).await,
            Act::DeleteCircle => client.delete("/v1/circles/c").await,
        };
        assert!(answer.status < 500, "{act:?}: {}", answer.text);
        answer.status
    }
}

/// How the first has to end if the second was acknowledged before it went on; none: it may end either way.
fn after(second: Act, first: Act) -> Option<u16> {
    match (second, first) {
        (Act::Demote, Act::Edit | Act::Replace) => Some(409),
        (Act::Demote, Act::Share | Act::Unshare) => Some(403),
        (Act::Demote | Act::Leave, Act::Forget) => Some(204),
        (Act::Leave | Act::DeleteCircle, Act::Edit | Act::Replace) => Some(200),
        (Act::Leave | Act::DeleteCircle, Act::Share | Act::Unshare) => Some(404),
        (Act::Forget, Act::Edit | Act::Share | Act::Unshare) => Some(404),
        (Act::Forget, Act::Replace) => Some(201),
        _ => None,
    }
}

/// Stops the first before each of its statements in turn and lets every second run meanwhile.
async fn interleave_with_all(first: Act) {
    let app = TestApp::start().await;
    let proxy = Proxy::start(app.database.cluster.socket()).await;
    let options = proxy.options(&app.database.name);
    let slowed = app.sibling_through(options, |config| config.database.write_timeout_ms = 20_000).await;
    let mut superuser = app.database.superuser().await;
    let mut overtaken = 0;
    // Two changes of the circle itself are not about the memory.
    let seconds = if MEMORY.contains(&first) { &ALL[..] } else { &MEMORY };
    for second in seconds.iter().copied().filter(|second| *second != first) {
        overtaken += interleave([&app, &slowed], &proxy, &mut superuser, [first, second]).await;
    }
    assert!(overtaken >= seconds.len(), "{first:?} was overtaken {overtaken} times only");
    assert_eq!(deadlocks(&mut superuser).await, 0);
    superuser.close().await.expect("closes");
}

async fn interleave(
    [app, slowed]: [&TestApp; 2],
    proxy: &Proxy,
    superuser: &mut PgConnection,
    [first, second]: [Act; 2],
) -> usize {
    let mut overtaken = 0;
    for step in 0.. {
        let scene = Scene::set(app, ![first, second].contains(&Act::Share)).await;
        proxy.allow(step);
        let done = AtomicBool::new(false);
        let one = async {
            let status = scene.act(first, slowed).await;
            done.store(true, Ordering::Relaxed);
            status
        };
        let two = async {
            let held = wait_until_held_or(proxy, &done).await;
            // If the second waits for a lock of the first, the first must go on for either to end.
            let two = scene.act(second, app);
            tokio::pin!(two);
            let status = tokio::time::timeout(Duration::from_millis(40), &mut two).await.ok();
            // What is held may also be some housekeeping, after the first has been answered.
            tokio::time::sleep(Duration::from_millis(5)).await;
            let overtook = held && status.is_some_and(|status| status < 300) && !done.load(Ordering::Relaxed);
            proxy.release();
            if status.is_none() {
                two.await;
            }
            (held, overtook)
        };
        let (status, (held, overtook)) =
            tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(one, two) })
                .await
                .unwrap_or_else(|_| panic!("{first:?} and {second:?} block each other at step {step}"));
        let what = format!("{first:?} stopped at {step} for {second:?}");
        if overtook {
            overtaken += 1;
            assert!(after(second, first).is_none_or(|expected| expected == status), "{what}: {status}");
        }
        if [first, second].contains(&Act::Leave) {
            assert_eq!(count_shares(superuser, &scene.tenant).await, 0, "{what}: who leaves takes everything along");
        }
        assert_consistent(superuser, &scene.tenant, &what).await;
        if !held {
            return overtaken;
        }
    }
    unreachable!("a write has an end")
}

async fn count_shares(superuser: &mut PgConnection, tenant: &Tenant) -> i64 {
    let open = sqlx::query_scalar("SELECT count(*) FROM shares WHERE tenant_id = $1 AND ended_at IS NULL");
    open.bind(tenant.id).fetch_one(superuser).await.expect("counts")
}

macro_rules! interleavings {
    ($($name:ident: $first:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            interleave_with_all(Act::$first).await;
        }
    )*};
}

interleavings! {
    an_edit_interleaves_with_whatever_happens_in_the_circle: Edit,
    a_replacement_interleaves_with_whatever_happens_in_the_circle: Replace,
    a_forget_interleaves_with_whatever_happens_in_the_circle: Forget,
    a_share_interleaves_with_whatever_happens_in_the_circle: Share,
    an_unshare_interleaves_with_whatever_happens_in_the_circle: Unshare,
    a_change_to_reader_interleaves_with_whatever_happens_in_the_circle: Demote,
    a_member_that_leaves_interleaves_with_whatever_happens_in_the_circle: Leave,
    a_circle_that_goes_interleaves_with_whatever_happens_in_it: DeleteCircle,
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_rounds_of_everything_at_once_leave_what_the_audit_says() {
    let app = TestApp::start().await;
    let (other, tenant) = (app.sibling().await, app.new_tenant().await);
    circle_of(&tenant, "c", &[("ada", "editor"), ("bob", "owner")]).await;
    let memory = tenant.remember_as("ada", json!({"content": "a stone", "key": "k"})).await;
    let mut superuser = app.database.superuser().await;
    let scene = Scene { tenant, memory };
    let acts = [Act::Edit, Act::Replace, Act::Share, Act::Unshare, Act::Demote, Act::Leave, Act::Share];
    let mut statuses = std::collections::BTreeSet::new();
    for round in 0..200 {
        back_in(&scene.tenant).await;
        if round % 2 == 0 {
            scene.act(Act::Share, &app).await;
        }
        let pick = || acts[rand::rng().random_range(0..acts.len())];
        let (one, two, three) = (pick(), pick(), pick());
        let all = tokio::join!(scene.act(one, &app), scene.act(two, &other), scene.act(three, &app));
        statuses.extend([all.0, all.1, all.2]);
        assert_consistent(&mut superuser, &scene.tenant, &format!("round {round}: {one:?}, {two:?}, {three:?}")).await;
    }
    assert!([200, 201, 204, 403, 404].iter().all(|status| statuses.contains(status)), "{statuses:?}");
    assert_eq!(deadlocks(&mut superuser).await, 0);
}

async fn back_in(client: &Client) {
    let answer = client.put("/v1/circles/c/members/ada", json!({"role": "editor"})).await;
    assert!(answer.status < 300, "{}", answer.text);
}
