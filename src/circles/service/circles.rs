//! Creating, changing and deleting circles.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::agents;
use crate::auth::Role;
use crate::circles::model::{Circle, CircleDraft, CirclePatch, CircleReceipt};
use crate::circles::service::members::join;
use crate::circles::service::{Actor, admit_role, forget_agent, note};
use crate::circles::store::{circles, locks, log, members, tasks};
use crate::db::{Db, Intent, TenantConn, WriteTx};
use crate::error::{Code, Error, Invalid, Result};
use crate::events::Event;
use crate::http::IfMatch;
use crate::ids::{AgentUid, ExternalId, ScopeId, TenantId};
use crate::{memories, usage};

/// Which incarnation a write left, and whether it made it.
#[derive(Serialize, Deserialize)]
struct Written {
    circle: Uuid,
    created: bool,
}

/// Creates the circle or replaces what is said about it; true if it was created.
pub async fn put(db: Db, actor: Actor, id: ExternalId, draft: CircleDraft) -> Result<(Circle, bool)> {
    let tenant = actor.tenant();
    let mut tx = db.write(tenant).await?;
    if let Some(written) = tx.claim(&actor.intent.once).await? {
        return replay(&mut tx, &actor, &id, &written).await;
    }
    let owner = owner(&mut tx, &actor, &draft).await?;
    let created = circles::insert(&mut tx, tenant, &id, &draft.profile()).await?;
    let circle = found(locks::lock_settings(&mut tx, tenant, &id).await?)?;
    let board = [circle.board_scope];
    let changed = if created {
        note(
            &mut tx,
            tenant,
            circle.circle_uid,
            circle.board_scope,
            Event::CircleCreated { circle: circle.circle_uid.uuid() },
        )
        .await?;
        true
    } else {
        admit_replacement(&mut tx, &actor, &circle).await?;
        replace(&mut tx, tenant, &circle, &draft).await?
    };
    let joined = match owner {
        // Whoever replaces a circle as an agent owns it already.
        Some(owner) => join(&mut tx, &actor, &circle, &[(owner, Role::Owner)]).await?,
        None => false,
    };
    tx.record(&Written { circle: circle.circle_uid.uuid(), created }).await?;
    let circle = found(circles::find(&mut tx, tenant, &id, actor.uid().and(owner)).await?)?;
    tx.commit(if changed || joined { &board } else { &[] }).await?;
    Ok((circle, created))
}

/// Who is to own the circle, locked so that its circles can be counted.
async fn owner(tx: &mut WriteTx, actor: &Actor, draft: &CircleDraft) -> Result<Option<AgentUid>> {
    let named = match (actor.name(), &draft.owner) {
        (Some(acting), Some(owner)) if owner != acting => {
            let detail = "an agent that creates a circle owns it; make others owner as members";
            return Err(Invalid::new(Code::InvalidValue, detail).under("owner").into());
        }
        (Some(acting), _) => Some(acting),
        (None, owner) => owner.as_ref(),
    };
    let Some(id) = named else { return Ok(None) };
    let agents = agents::ensure_to_count(tx, actor.tenant(), std::slice::from_ref(id), actor.may_create).await?;
    match agents.get(id) {
        Some(agent) => Ok(Some(*agent)),
        None if actor.agent.is_some() => Err(Error::not_found("agent")),
        None => Err(Invalid::new(Code::InvalidValue, "no such agent").under("owner").into()),
    }
}

/// An agent may replace what it owns. Of other circles it learns that the name is taken, as anyone who creates does.
async fn admit_replacement(tx: &mut WriteTx, actor: &Actor, circle: &Circle) -> Result<()> {
    admit_role(tx, actor, circle.circle_uid, Role::Owner)
        .await
        .map_err(|_| Error::refused(Code::IdTaken, "a circle of this name is there, and you do not own it"))
}

async fn replace(tx: &mut WriteTx, tenant: TenantId, circle: &Circle, draft: &CircleDraft) -> Result<bool> {
    if circle.profile() == draft.profile() {
        return Ok(false);
    }
    circles::update(tx, tenant, circle.circle_uid, &draft.profile()).await?;
    note(tx, tenant, circle.circle_uid, circle.board_scope, Event::CircleUpdated { circle: circle.circle_uid.uuid() })
        .await?;
    Ok(true)
}

pub async fn patch(db: Db, actor: Actor, id: ExternalId, patch: CirclePatch, condition: IfMatch) -> Result<Circle> {
    let tenant = actor.tenant();
    let mut tx = db.write(tenant).await?;
    if let Some(written) = tx.claim(&actor.intent.once).await? {
        return Ok(replay(&mut tx, &actor, &id, &written).await?.0);
    }
    let before = found(locks::lock_settings(&mut tx, tenant, &id).await?)?;
    admit_role(&mut tx, &actor, before.circle_uid, Role::Owner).await?;
    condition.check(before.etag())?;
    let after = patch.apply(&before.profile())?;
    let changed = after != before.profile();
    if changed {
        circles::update(&mut tx, tenant, before.circle_uid, &after).await?;
        note(
            &mut tx,
            tenant,
            before.circle_uid,
            before.board_scope,
            Event::CircleUpdated { circle: before.circle_uid.uuid() },
        )
        .await?;
    }
    tx.record(&Written { circle: before.circle_uid.uuid(), created: false }).await?;
    let circle = found(circles::find(&mut tx, tenant, &id, actor.uid()).await?)?;
    tx.commit(if changed { std::slice::from_ref(&before.board_scope) } else { &[] }).await?;
    Ok(circle)
}

/// Deletes the circle with all that is its own. The memories stay with those who remember them.
pub async fn delete(db: Db, actor: Actor, id: ExternalId, condition: IfMatch) -> Result<CircleReceipt> {
    let tenant = actor.tenant();
    let mut tx = db.write(tenant).await?;
    if let Some((by, receipt)) = tx.claim(&actor.intent.once).await? {
        return actor.check_replay(by).map(|()| receipt);
    }
    let circle = found(locks::lock_settings(&mut tx, tenant, &id).await?)?;
    admit_role(&mut tx, &actor, circle.circle_uid, Role::Owner).await?;
    condition.check(circle.etag())?;
    locks::lock_exclusively(&mut tx, tenant, circle.circle_uid).await?;
    let members = members::delete_all(&mut tx, tenant, circle.circle_uid).await?;
    let tasks = tasks::delete_all(&mut tx, tenant, circle.circle_uid).await?;
    let (shared, touched) =
        memories::clear_circle(&mut tx, &actor.intent, circle.shared_in(), circle.board_scope).await?;
    log::delete(&mut tx, tenant, circle.circle_uid).await?;
    usage::forget_scopes(&mut tx, tenant, &[circle.content_scope, circle.board_scope]).await?;
    circles::delete(&mut tx, tenant, &circle).await?;
    tx.announce(Event::CircleDeleted { circle: circle.circle_uid.uuid() });
    let receipt = CircleReceipt { members, shared, tasks };
    tx.record(&(actor.uid().map(AgentUid::uuid), &receipt)).await?;
    tx.commit(&touched).await?;
    Ok(receipt)
}

/// Takes an agent that is erased out of its circles and off their tasks, whoever is left as owner. Returns how many
/// circles it leaves, and the boards that the caller has to bump.
pub async fn leave_all(tx: &mut WriteTx, intent: &Intent, agent: AgentUid) -> Result<(u64, Vec<ScopeId>)> {
    let (tenant, actor) = (intent.tenant, Actor::behind(intent));
    let left = locks::lock_circles_of(tx, tenant, agent).await?;
    locks::lock_memberships(tx, tenant, agent).await?;
    let circles = members::delete_agent(tx, tenant, agent).await?;
    forget_agent(tx, &actor, agent).await?;
    for (circle, _) in &left {
        let event = Event::CircleMemberRemoved { circle: circle.uuid(), agents: vec![agent.uuid()] };
        log::insert(tx, tenant, *circle, event.name()).await?;
        tx.announce(event);
    }
    Ok((circles, left.into_iter().map(|(_, board)| board).collect()))
}

/// The circle that a write left, as it is now. One of the same name that was made since is another.
async fn replay(conn: &mut TenantConn, actor: &Actor, id: &ExternalId, written: &Written) -> Result<(Circle, bool)> {
    let circle = circles::find(conn, actor.tenant(), id, actor.uid()).await?;
    let circle = circle.filter(|circle| circle.circle_uid.uuid() == written.circle);
    // Whoever is no member any more learns nothing of it.
    let circle = circle.filter(|circle| actor.agent.is_none() || circle.role.is_some());
    Ok((circle.ok_or_else(|| Error::gone("circle"))?, written.created))
}

fn found(circle: Option<Circle>) -> Result<Circle> {
    circle.ok_or_else(|| Error::not_found("circle"))
}
