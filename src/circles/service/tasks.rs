//! Tasks of a circle: creating and changing them, and the steps from open to approved.

use uuid::Uuid;

use crate::agents;
use crate::auth::{PathCircle, Role};
use crate::circles::model::{NotedStep, Task, TaskFields, TaskMove, TaskPatch, TaskState};
use crate::circles::service::{Actor, admit, note};
use crate::circles::store::moves::Made;
use crate::circles::store::{locks, log, moves, task_locks, tasks};
use crate::db::{Db, TenantConn, WriteTx};
use crate::error::{Code, Error, Invalid, Result};
use crate::events::Event;
use crate::http::IfMatch;
use crate::ids::{AgentUid, CircleUid, ExternalId, TaskId, TenantId};

/// Who does something, in which circle, as the gate saw both.
#[derive(Debug, Clone)]
pub struct Place {
    pub actor: Actor,
    pub circle: PathCircle,
    /// The role that it takes.
    pub least: Role,
}

impl Place {
    fn tenant(&self) -> TenantId {
        self.actor.tenant()
    }

    async fn find(&self, conn: &mut TenantConn, id: TaskId) -> Result<Option<Task>> {
        tasks::find(conn, self.tenant(), self.circle.uid, id).await
    }

    /// The task that an earlier sending of this write left, as it is now.
    async fn replay(&self, conn: &mut TenantConn, id: TaskId) -> Result<Task> {
        self.find(conn, id).await?.ok_or_else(|| Error::gone("task"))
    }
}

pub async fn create(db: Db, place: Place, fields: TaskFields) -> Result<Task> {
    let mut tx = db.write(place.tenant()).await?;
    if let Some(id) = tx.claim::<Uuid>(&place.actor.intent.once).await? {
        return place.replay(&mut tx, TaskId::from_uuid(id)).await;
    }
    let member = enter(&mut tx, &place, fields.assignee.as_ref()).await?;
    check_assignee(fields.assignee.as_ref(), member)?;
    let id = TaskId::new();
    tasks::insert(&mut tx, place.tenant(), place.circle.uid, id, &fields).await?;
    keep_move(&mut tx, &place, id, None, None).await?;
    let event = Event::TaskCreated { circle: place.circle.uid.uuid(), task: id.uuid() };
    finish(tx, &place, id, event, &id.uuid()).await
}

pub async fn patch(db: Db, place: Place, id: TaskId, patch: TaskPatch, condition: IfMatch) -> Result<Task> {
    let mut tx = db.write(place.tenant()).await?;
    if tx.claim::<()>(&place.actor.intent.once).await?.is_some() {
        return place.replay(&mut tx, id).await;
    }
    let member = enter(&mut tx, &place, patch.assignee()).await?;
    let task = lock(&mut tx, &place, id).await?;
    condition.check(task.etag())?;
    let (before, after) = (task.fields(), patch.apply(&task.fields()));
    if task.state.is_final() || (after.assignee != before.assignee && task.state != TaskState::Open) {
        return Err(task.wrong_state());
    }
    if after == before {
        return keep(tx, task).await;
    }
    if after.assignee != before.assignee {
        check_assignee(after.assignee.as_ref(), member)?;
    }
    tasks::update(&mut tx, place.tenant(), id, &after).await?;
    let event = Event::TaskUpdated { circle: place.circle.uid.uuid(), task: id.uuid() };
    finish(tx, &place, id, event, &()).await
}

pub async fn delete(db: Db, place: Place, id: TaskId, condition: IfMatch) -> Result<()> {
    let mut tx = db.write(place.tenant()).await?;
    if tx.claim::<()>(&place.actor.intent.once).await?.is_some() {
        return Ok(());
    }
    enter(&mut tx, &place, None).await?;
    condition.check(lock(&mut tx, &place, id).await?.etag())?;
    tasks::delete(&mut tx, place.tenant(), id).await?;
    let event = Event::TaskDeleted { circle: place.circle.uid.uuid(), task: id.uuid() };
    note(&mut tx, place.tenant(), place.circle.uid, place.circle.board, event).await?;
    tx.record(&()).await?;
    tx.commit(&[place.circle.board]).await
}

/// Takes a task one step further. Of many that claim one task at once, the first to lock it wins.
pub async fn step(db: Db, place: Place, id: TaskId, noted: NotedStep) -> Result<Task> {
    let mut tx = db.write(place.tenant()).await?;
    if tx.claim::<()>(&place.actor.intent.once).await?.is_some() {
        return place.replay(&mut tx, id).await;
    }
    enter(&mut tx, &place, None).await?;
    let task = lock(&mut tx, &place, id).await?;
    let agent = place.actor.uid();
    if agent.is_none() && noted.step.takes_an_agent() {
        let detail = "only an agent that is editor or owner of this circle can do that; send Cairn-Agent";
        return Err(Error::refused(Code::RoleRequired, detail));
    }
    let standing = match noted.step.apply(&task, agent) {
        Ok(standing) => standing,
        Err(refused) => {
            if noted.step.lost(&task, agent) {
                count_lost(tx, &place).await?;
            }
            return Err(refused);
        }
    };
    if standing == task.standing() {
        return keep(tx, task).await;
    }
    tasks::update_standing(&mut tx, place.tenant(), id, &standing).await?;
    keep_move(&mut tx, &place, id, Some(task.state), noted.note.as_ref().map(|note| note.as_str())).await?;
    finish(tx, &place, id, noted.step.event(place.circle.uid, id), &()).await
}

/// Which part of whose history.
pub struct HistoryRequest {
    pub circle: CircleUid,
    pub id: TaskId,
    /// Only moves of higher numbers.
    pub after: Option<i32>,
    pub limit: i64,
}

/// The moves of a task, oldest first.
pub async fn history(db: Db, tenant: TenantId, request: HistoryRequest) -> Result<Vec<TaskMove>> {
    let HistoryRequest { circle, id, after, limit } = request;
    let mut conn = db.read(tenant).await?;
    tasks::find(&mut conn, tenant, circle, id).await?.ok_or_else(|| Error::not_found("task"))?;
    moves::list(&mut conn, tenant, id, after, limit).await
}

/// Locks who acts and the agent that a task is to name, each with its membership; returns the latter, if it is a
/// member. Neither can go, nor a role change, nor the circle go, before the commit.
async fn enter(tx: &mut WriteTx, place: &Place, named: Option<&ExternalId>) -> Result<Option<AgentUid>> {
    let Place { actor, circle, least } = place;
    if let Some(name) = actor.name() {
        agents::lock(tx, place.tenant(), name).await?;
    }
    let mut member = None;
    if let Some(named) = named
        && let Some(named) = agents::lock(tx, place.tenant(), named).await?
    {
        let mut agents: Vec<AgentUid> = [Some(named), actor.uid()].into_iter().flatten().collect();
        // In the order of their ids: somebody may be changing the roles of both.
        agents.sort_unstable();
        for agent in agents {
            let role = locks::lock_role(tx, place.tenant(), circle.uid, agent).await?;
            member = member.or(role.filter(|_| agent == named).map(|_| named));
        }
    }
    admit(tx, actor, circle, *least).await?;
    Ok(member)
}

fn check_assignee(named: Option<&ExternalId>, member: Option<AgentUid>) -> Result<()> {
    if named.is_none() || member.is_some() {
        return Ok(());
    }
    Err(Invalid::new(Code::InvalidValue, "must be a member of this circle").under("assignee").into())
}

/// The task as it is and stays until the commit.
async fn lock(tx: &mut WriteTx, place: &Place, id: TaskId) -> Result<Task> {
    task_locks::lock(tx, place.tenant(), place.circle.uid, id).await?;
    // A statement of its own: it sees what whoever held the lock has written.
    place.find(tx, id).await?.ok_or_else(|| Error::not_found("task"))
}

async fn keep_move(
    tx: &mut WriteTx,
    place: &Place,
    id: TaskId,
    from: Option<TaskState>,
    note: Option<&str>,
) -> Result<()> {
    let made = Made { from, agent: place.actor.name(), principal: &place.actor.intent.principal, note };
    moves::insert(tx, place.tenant(), &[id], made).await
}

/// Ends a write that leaves the task as it is.
async fn keep(mut tx: WriteTx, task: Task) -> Result<Task> {
    tx.record(&()).await?;
    tx.commit(&[]).await?;
    Ok(task)
}

/// Ends a write that changed the task.
async fn finish<R: serde::Serialize>(
    mut tx: WriteTx,
    place: &Place,
    id: TaskId,
    event: Event,
    receipt: &R,
) -> Result<Task> {
    note(&mut tx, place.tenant(), place.circle.uid, place.circle.board, event).await?;
    let task = place.find(&mut tx, id).await?.ok_or_else(|| Error::not_found("task"))?;
    tx.record(receipt).await?;
    tx.commit(&[place.circle.board]).await?;
    Ok(task)
}

/// Keeps that an agent came too late. Nothing that anybody reads has changed, so no stamp does.
async fn count_lost(mut tx: WriteTx, place: &Place) -> Result<()> {
    log::insert(&mut tx, place.tenant(), place.circle.uid, log::CLAIM_LOST).await?;
    tx.disclaim();
    tx.commit(&[]).await
}
