//! What becomes of an agent's tasks when it can no longer do them. Part of a larger write, which holds the agent or
//! its membership and bumps the boards.

use crate::circles::model::TaskState;
use crate::circles::service::Actor;
use crate::circles::store::moves::Made;
use crate::circles::store::task_locks::Assigned;
use crate::circles::store::{log, moves, task_locks, tasks};
use crate::db::WriteTx;
use crate::error::Result;
use crate::events::Event;
use crate::ids::{AgentUid, CircleUid, TaskId};

/// An agent left the circle, or only reads there from now on: what it had claimed is open again, and if it left, no
/// open task waits for it. Returns how many were reopened.
pub async fn release(
    tx: &mut WriteTx,
    actor: &Actor,
    circle: CircleUid,
    agent: AgentUid,
    still_member: bool,
) -> Result<u64> {
    let assigned = task_locks::lock_assigned(tx, actor.tenant(), agent, Some(circle)).await?;
    let (claimed, others) = split(assigned);
    if still_member {
        return reopen(tx, actor, &claimed, "the assignee may only read here now").await;
    }
    let waiting: Vec<Assigned> = others.into_iter().filter(|task| task.state == TaskState::Open).collect();
    unassign(tx, actor, &waiting).await?;
    reopen(tx, actor, &claimed, "the assignee left the circle").await
}

/// An agent is being erased: the same in all its circles, and no task names it any more. Returns how many were
/// reopened.
pub async fn forget_agent(tx: &mut WriteTx, actor: &Actor, agent: AgentUid) -> Result<u64> {
    let (claimed, others) = split(task_locks::lock_assigned(tx, actor.tenant(), agent, None).await?);
    unassign(tx, actor, &others).await?;
    reopen(tx, actor, &claimed, "the assignee is gone").await
}

/// What an agent works on, and what names it otherwise.
fn split(assigned: Vec<Assigned>) -> (Vec<Assigned>, Vec<Assigned>) {
    assigned.into_iter().partition(|task| task.state == TaskState::Claimed)
}

async fn reopen(tx: &mut WriteTx, actor: &Actor, claimed: &[Assigned], why: &str) -> Result<u64> {
    let reopened = |task: &Assigned| Event::TaskReopened { circle: task.circle.uuid(), task: task.id.uuid() };
    take_from_assignee(tx, actor, claimed, reopened).await?;
    let made = Made {
        from: Some(TaskState::Claimed),
        agent: actor.name(),
        principal: &actor.intent.principal,
        note: Some(why),
    };
    moves::insert(tx, actor.tenant(), &ids(claimed), made).await?;
    Ok(claimed.len() as u64)
}

async fn unassign(tx: &mut WriteTx, actor: &Actor, tasks: &[Assigned]) -> Result<()> {
    let updated = |task: &Assigned| Event::TaskUpdated { circle: task.circle.uuid(), task: task.id.uuid() };
    take_from_assignee(tx, actor, tasks, updated).await
}

async fn take_from_assignee(
    tx: &mut WriteTx,
    actor: &Actor,
    assigned: &[Assigned],
    event: impl Fn(&Assigned) -> Event,
) -> Result<()> {
    let Some(first) = assigned.first() else { return Ok(()) };
    tasks::update_assignee_gone(tx, actor.tenant(), &ids(assigned)).await?;
    let circles: Vec<CircleUid> = assigned.iter().map(|task| task.circle).collect();
    log::insert_many(tx, actor.tenant(), &circles, event(first).name()).await?;
    assigned.iter().for_each(|task| tx.announce(event(task)));
    Ok(())
}

fn ids(assigned: &[Assigned]) -> Vec<TaskId> {
    assigned.iter().map(|task| task.id).collect()
}
