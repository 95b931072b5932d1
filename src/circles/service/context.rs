//! The context of a circle: one snapshot, kept until something in it changes.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use bytes::Bytes;
use serde_json::Value;

use crate::app::App;
use crate::auth::{Caller, PathCircle, Role};
use crate::cache::{
    Answer, CacheUse, Computed, Key, Kind, Millis, Owner, Proven, Sought, Stamp, Timing, Wanted, Warmth, fingerprint,
    millis,
};
use crate::circles::model::{Context, ContextMemories, ContextTasks, MOST_MEMBERS};
use crate::circles::store::{context, members, tasks};
use crate::db::{Db, TenantConn};
use crate::error::{Error, Result};
use crate::ids::{ExternalId, MemoryId, Tag, TenantId};
use crate::memories::{Memory, Proof, find_many};

const MOST_ACTIVE: i64 = 50;
const MOST_RECENT: i64 = 10;

/// Everything that decides how a context is made and written.
static RULES: LazyLock<String> = LazyLock::new(|| {
    fingerprint(&[
        env!("CARGO_PKG_VERSION"),
        include_str!("../model/context.rs"),
        include_str!("../model/member.rs"),
        include_str!("../model/task.rs"),
        include_str!("../model/task_state.rs"),
        include_str!("../store/context.rs"),
        include_str!("../store/members.rs"),
        include_str!("../store/tasks.rs"),
        include_str!("context.rs"),
        include_str!("../../memories/model.rs"),
        include_str!("../../memories/fields.rs"),
        include_str!("../../memories/store.rs"),
    ])
});

/// The name of a circle's context in the cache.
struct ContextKey(ExternalId);

impl Key for ContextKey {
    const KIND: Kind = Kind::Circle;
    /// The body as it is sent.
    type Value = Bytes;

    fn namespace(&self) -> String {
        format!("{}{}:ctx", Self::KIND.namespace(), self.0)
    }

    /// A circle has one context, for all who may read it.
    fn identity(&self) -> &[u8] {
        &[]
    }
}

/// The context of the circle of the path, for its members.
pub async fn context(app: Arc<App>, caller: &Caller, cache: CacheUse) -> Result<Answer> {
    let (owner, circle) = (caller.owner(), caller.circle(Role::Reader)?.clone());
    let sought = sought(caller, &circle, cache);
    app.cache.through(sought, |_| compute(app.db.clone(), owner, circle.clone())).await
}

/// Has the context of the circle ready for whoever asks for it next.
pub async fn warm_context(app: Arc<App>, caller: &Caller) -> Result<Warmth> {
    let (owner, circle) = (caller.owner(), caller.circle(Role::Reader)?.clone());
    let sought = sought(caller, &circle, CacheUse::Use);
    app.cache.warm(sought, |_| compute(app.db.clone(), owner, circle.clone())).await
}

fn sought(caller: &Caller, circle: &PathCircle, cache: CacheUse) -> Sought<ContextKey> {
    Sought {
        owner: caller.owner(),
        key: ContextKey(circle.id.clone()),
        scopes: vec![circle.board, circle.content],
        wanted: Wanted {
            stamp: stamp(circle, caller.tenant_tag, circle.board_tag, circle.content_tag),
            now: millis(caller.checked_at),
        },
        cache,
        agree,
    }
}

/// Of what the gate saw, or of what the snapshot of a context did: equal only if no change lies between.
fn stamp(circle: &PathCircle, tenant: Option<Tag>, board: Option<Tag>, content: Option<Tag>) -> Option<Stamp> {
    let (of_board, of_content) = (circle.board.uuid(), circle.content.uuid());
    let parts = [(&b"tenant"[..], tenant), (of_board.as_bytes(), board), (of_content.as_bytes(), content)];
    Stamp::of(&RULES, parts)
}

/// Contexts of one stamp differ in what the clock alone changes.
fn agree(one: &[u8], other: &[u8]) -> bool {
    let lasting = |body| {
        let mut context: Value = serde_json::from_slice(body).ok()?;
        context.as_object_mut()?.remove("as_of")?;
        context["activity"].as_object_mut()?.remove("events_last_24h")?;
        Some(context)
    };
    lasting(one).is_some_and(|one| lasting(other) == Some(one))
}

async fn compute(db: Db, owner: Owner, circle: PathCircle) -> Result<Computed> {
    let started = Instant::now();
    let work = db.clone();
    let (body, proof) = db.run(async move { read(&work, owner.tenant, &circle).await }).await?;
    let timing = Timing { search: started.elapsed(), ..Timing::default() };
    Ok(Computed { body, proof: Some(proof), makeshift: false, timing })
}

/// The document, and the stamp of the snapshot that it is of.
async fn read(db: &Db, tenant: TenantId, circle: &PathCircle) -> Result<(Bytes, Proven)> {
    let mut conn = db.read(tenant).await?;
    let proof = Proof::read(&mut conn, tenant, None, &[circle.board, circle.content]).await?;
    let [board, content] = proof.tags[..] else {
        return Err(Error::Internal(anyhow::anyhow!("two scopes have {} tags", proof.tags.len())));
    };
    let proven = Proven {
        stamp: stamp(circle, proof.tenant_tag, board, content),
        now: millis(proof.now),
        valid_until: proof.next_expiry.map_or(Millis::MAX, millis),
    };
    let context = Context {
        as_of: proof.now,
        circle: found(context::find_circle(&mut conn, tenant, circle.uid).await?)?,
        members: members::list(&mut conn, tenant, circle.uid, None, MOST_MEMBERS as i64).await?,
        tasks: ContextTasks {
            counts: tasks::counts(&mut conn, tenant, circle.uid).await?,
            active: tasks::active(&mut conn, tenant, circle.uid, MOST_ACTIVE).await?,
        },
        memories: ContextMemories {
            count: context::count_visible(&mut conn, tenant, circle.content).await?,
            recent: recent(&mut conn, tenant, circle).await?,
        },
        activity: context::activity(&mut conn, tenant, circle.uid, proof.now).await?,
    };
    let body = serde_json::to_vec(&context).map_err(|error| Error::Internal(error.into()))?;
    Ok((body.into(), proven))
}

/// A circle may go between the gate and the snapshot.
fn found<T>(circle: Option<T>) -> Result<T> {
    circle.ok_or_else(|| Error::not_found("circle"))
}

async fn recent(conn: &mut TenantConn, tenant: TenantId, circle: &PathCircle) -> Result<Vec<Memory>> {
    let ids = context::list_recent(conn, tenant, (circle.uid, circle.content), MOST_RECENT).await?;
    let memories = find_many(conn, tenant, &ids, Some(&[circle.content])).await?;
    let mut memories: HashMap<MemoryId, Memory> = memories.into_iter().map(|memory| (memory.id, memory)).collect();
    Ok(ids.iter().filter_map(|id| memories.remove(id)).collect())
}
