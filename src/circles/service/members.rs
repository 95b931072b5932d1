//! Who is in a circle, and with which role. The circle's row is locked, so that what is counted holds.

use std::collections::HashMap;
use std::slice;
use std::sync::Arc;

use uuid::Uuid;

use crate::agents;
use crate::auth::{PathCircle, Role};
use crate::circles::model::{Circle, MOST_CIRCLES, MOST_MEMBERS, Member, NewMember};
use crate::circles::service::{Actor, admit_role, note, release};
use crate::circles::store::{locks, members};
use crate::db::{Attempt, Db, TenantConn, WriteTx, retrying};
use crate::error::{Code, Error, Invalid, Result};
use crate::events::Event;
use crate::http::IfMatch;
use crate::ids::{AgentUid, CircleUid, ExternalId, TenantId};
use crate::memories;

/// Which agents a write made members or gave a role, and how many of them it added.
type Receipt = (Vec<Uuid>, usize);

/// Adds these members or gives them these roles, all or none. Returns them in the order given, and how many were added.
pub async fn set(db: Db, actor: Actor, circle: PathCircle, wanted: Vec<NewMember>) -> Result<(Vec<Member>, usize)> {
    let asked = Arc::new((actor, circle, wanted));
    let work = retrying(move || {
        let (db, asked) = (db.clone(), asked.clone());
        async move {
            let (actor, circle, wanted) = &*asked;
            attempt_set(db.write(actor.tenant()).await?, actor, circle, wanted).await.map(Attempt::Done)
        }
    });
    work.await
}

async fn attempt_set(
    mut tx: WriteTx,
    actor: &Actor,
    circle: &PathCircle,
    wanted: &[NewMember],
) -> Result<(Vec<Member>, usize)> {
    let tenant = actor.tenant();
    if let Some((agents, added)) = tx.claim::<Receipt>(&actor.intent.once).await? {
        let agents: Vec<AgentUid> = agents.into_iter().map(AgentUid::from_uuid).collect();
        let members = in_order(&mut tx, tenant, circle.uid, &agents).await?;
        return Ok((members.ok_or_else(|| Error::gone("member"))?, added));
    }
    let ids: Vec<ExternalId> = wanted.iter().map(|member| member.agent_id.clone()).collect();
    let known = agents::ensure_to_count(&mut tx, tenant, &ids, actor.may_create).await?;
    let circle = lock(&mut tx, tenant, circle).await?;
    admit_role(&mut tx, actor, circle.circle_uid, Role::Owner).await?;
    let roles = resolve(wanted, &known)?;
    let agents: Vec<AgentUid> = roles.iter().map(|(agent, _)| *agent).collect();
    let before = members::count(&mut tx, tenant, circle.circle_uid).await?;
    let changed = join(&mut tx, actor, &circle, &roles).await?;
    let after = members::count(&mut tx, tenant, circle.circle_uid).await?;
    keep_an_owner(before.1, after.1)?;
    let added = usize::try_from(after.0 - before.0).unwrap_or_default();
    tx.record(&(agents.iter().map(|agent| agent.uuid()).collect::<Vec<_>>(), added)).await?;
    let members = in_order(&mut tx, tenant, circle.circle_uid, &agents).await?.unwrap_or_default();
    tx.commit(if changed { slice::from_ref(&circle.board_scope) } else { &[] }).await?;
    Ok((members, added))
}

/// The incarnations of those who are wanted, or where in the request the one stands that is not there.
fn resolve(wanted: &[NewMember], known: &HashMap<ExternalId, AgentUid>) -> Result<Vec<(AgentUid, Role)>> {
    let roles = wanted.iter().enumerate().map(|(index, member)| {
        let agent = known.get(&member.agent_id).ok_or_else(|| {
            let invalid = Invalid::new(Code::InvalidValue, "no such agent");
            invalid.under("agent_id").under(index).under("members")
        })?;
        Ok((*agent, member.role))
    });
    roles.collect()
}

/// Gives these agents these roles, within the limits; false where they had them. Circle and agents must be locked.
pub(super) async fn join(
    tx: &mut WriteTx,
    actor: &Actor,
    circle: &Circle,
    wanted: &[(AgentUid, Role)],
) -> Result<bool> {
    let tenant = actor.tenant();
    let agents: Vec<AgentUid> = wanted.iter().map(|(agent, _)| *agent).collect();
    let present = members::find_many(tx, tenant, circle.circle_uid, &agents).await?;
    let present: HashMap<AgentUid, Role> = present.into_iter().map(|member| (member.agent_uid, member.role)).collect();
    let new: Vec<AgentUid> = agents.into_iter().filter(|agent| !present.contains_key(agent)).collect();
    let other = wanted.iter().filter(|(agent, role)| present.get(agent).is_some_and(|before| before != role));
    let other: Vec<(AgentUid, Role)> = other.copied().collect();
    if new.is_empty() && other.is_empty() {
        return Ok(false);
    }
    check_limits(tx, tenant, circle.circle_uid, &new).await?;
    members::upsert(tx, tenant, circle, wanted).await?;
    for (agent, _) in other.iter().filter(|(_, role)| *role == Role::Reader) {
        release(tx, actor, circle.circle_uid, *agent, true).await?;
    }
    let id = circle.circle_uid.uuid();
    if !new.is_empty() {
        let agents = new.iter().map(|agent| agent.uuid()).collect();
        let event = Event::CircleMemberAdded { circle: id, agents };
        note(tx, tenant, circle.circle_uid, circle.board_scope, event).await?;
    }
    if !other.is_empty() {
        let agents = other.iter().map(|(agent, _)| agent.uuid()).collect();
        let event = Event::CircleMemberChanged { circle: id, agents };
        note(tx, tenant, circle.circle_uid, circle.board_scope, event).await?;
    }
    Ok(true)
}

async fn check_limits(tx: &mut WriteTx, tenant: TenantId, circle: CircleUid, new: &[AgentUid]) -> Result<()> {
    let (members, _) = members::count(tx, tenant, circle).await?;
    if members + new.len() as i64 > MOST_MEMBERS as i64 {
        let detail = format!("a circle may have {MOST_MEMBERS} members; this one has {members}");
        return Err(Error::refused(Code::LimitReached, detail));
    }
    match members::find_in_most(tx, tenant, new, MOST_CIRCLES as i64).await? {
        None => Ok(()),
        Some(agent) => {
            let detail = format!("an agent may be in {MOST_CIRCLES} circles; {agent} is in as many");
            Err(Error::refused(Code::LimitReached, detail))
        }
    }
}

fn keep_an_owner(before: i64, after: i64) -> Result<()> {
    if before > 0 && after == 0 {
        let detail = "the circle would be left without an owner; make another member owner first";
        return Err(Error::refused(Code::LastOwner, detail));
    }
    Ok(())
}

/// A member that is to go.
pub struct Removal {
    pub circle: PathCircle,
    pub member: ExternalId,
    /// What it shared there goes with it.
    pub unshare: bool,
    pub condition: IfMatch,
}

/// Removes a member, by an owner or by itself. From when this returns it recalls, reads and writes nothing of the circle.
pub async fn remove(db: Db, actor: Actor, removal: Removal) -> Result<()> {
    let tenant = actor.tenant();
    let mut tx = db.write(tenant).await?;
    if let Some(by) = tx.claim(&actor.intent.once).await? {
        return actor.check_replay(by);
    }
    let circle = lock(&mut tx, tenant, &removal.circle).await?;
    let is_leaving = actor.name() == Some(&removal.member);
    admit_role(&mut tx, &actor, circle.circle_uid, if is_leaving { Role::Reader } else { Role::Owner }).await?;
    let member = members::find(&mut tx, tenant, circle.circle_uid, &removal.member).await?;
    let member = member.ok_or_else(|| Error::not_found("member"))?;
    removal.condition.check(member.etag())?;
    let agent = member.agent_uid;
    let (_, owners) = members::count(&mut tx, tenant, circle.circle_uid).await?;
    members::delete(&mut tx, tenant, circle.circle_uid, agent).await?;
    keep_an_owner(owners, members::count(&mut tx, tenant, circle.circle_uid).await?.1)?;
    release(&mut tx, &actor, circle.circle_uid, agent, false).await?;
    let mut touched = vec![circle.board_scope];
    if removal.unshare {
        touched = memories::unshare_all_of(&mut tx, &actor.intent, circle.shared_in(), agent, &touched).await?.1;
    }
    let event = Event::CircleMemberRemoved { circle: circle.circle_uid.uuid(), agents: vec![agent.uuid()] };
    note(&mut tx, tenant, circle.circle_uid, circle.board_scope, event).await?;
    tx.record(&actor.uid().map(AgentUid::uuid)).await?;
    tx.commit(&touched).await
}

/// The circle of the path, if it is still the one that the gate saw.
async fn lock(tx: &mut WriteTx, tenant: TenantId, circle: &PathCircle) -> Result<Circle> {
    let locked = locks::lock_settings(tx, tenant, &circle.id).await?;
    locked.filter(|locked| locked.circle_uid == circle.uid).ok_or_else(|| Error::not_found("circle"))
}

/// None if one of them is no member.
async fn in_order(
    conn: &mut TenantConn,
    tenant: TenantId,
    circle: CircleUid,
    agents: &[AgentUid],
) -> Result<Option<Vec<Member>>> {
    let members = members::find_many(conn, tenant, circle, agents).await?;
    let mut by_agent: HashMap<AgentUid, Member> =
        members.into_iter().map(|member| (member.agent_uid, member)).collect();
    Ok(agents.iter().map(|agent| by_agent.remove(agent)).collect())
}
