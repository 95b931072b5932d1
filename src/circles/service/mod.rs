//! Use cases of circles: lock, check the role under the locks, decide, bump, write, note, commit.

mod circles;
mod context;
mod members;
mod metrics;
mod operator;
mod recalls;
mod release;
pub mod tasks;

pub use circles::{delete, leave_all, patch, put};
pub use context::{context, warm_context};
pub use members::{Removal, remove, set};
pub use metrics::measure;
pub use operator::{list_members, overview, transfer};
pub use recalls::RecallCounts;
pub use release::{forget_agent, release};

use uuid::Uuid;

use crate::auth::{Caller, PathCircle, Role};
use crate::circles::store::{self, locks, log};
use crate::db::{Idempotency, Intent, WriteTx};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::ids::{AgentUid, CircleUid, ExternalId, ScopeId, TenantId};

/// Who changes something in a circle.
#[derive(Debug, Clone)]
pub struct Actor {
    pub intent: Intent,
    /// The acting agent; none: a trusted back end, which has every role.
    pub agent: Option<ActingAgent>,
    /// Agents that are not there yet may be made.
    pub may_create: bool,
}

/// An agent that acts, as the gate saw it.
#[derive(Debug, Clone)]
pub struct ActingAgent {
    pub id: ExternalId,
    pub uid: AgentUid,
}

impl Actor {
    pub fn of(caller: &Caller, once: Idempotency) -> Self {
        let acting = caller.acting().zip(caller.acting_uid());
        let agent = acting.map(|(agent, uid)| ActingAgent { id: agent.id.clone(), uid });
        Self { intent: caller.intent(once), agent, may_create: caller.auto_create_agents && !caller.bound }
    }

    /// No agent, and no one who makes any.
    pub fn behind(intent: &Intent) -> Self {
        Self { intent: intent.clone(), agent: None, may_create: false }
    }

    /// A replay is for those who might have sent the first, even where what it was about is gone.
    pub fn check_replay(&self, by: Option<Uuid>) -> Result<()> {
        let own = self.uid().is_none_or(|agent| by == Some(agent.uuid()));
        if own { Ok(()) } else { Err(Error::not_found("circle")) }
    }

    pub fn tenant(&self) -> TenantId {
        self.intent.tenant
    }

    pub fn uid(&self) -> Option<AgentUid> {
        self.agent.as_ref().map(|agent| agent.uid)
    }

    pub fn name(&self) -> Option<&ExternalId> {
        self.agent.as_ref().map(|agent| &agent.id)
    }
}

/// Keeps the circle and the actor's role in it as they are until the commit, and refuses who may not do this. A
/// removal that is under way comes before all of this write, or after all of it.
pub async fn admit(tx: &mut WriteTx, actor: &Actor, circle: &PathCircle, least: Role) -> Result<()> {
    let role = match actor.uid() {
        Some(agent) => locks::lock_role(tx, actor.tenant(), circle.uid, agent).await?,
        None => locks::lock(tx, actor.tenant(), circle.uid).await?.then_some(Role::Owner),
    };
    role.ok_or_else(|| Error::not_found("circle"))?.require(least)
}

/// The same, where the circle and with it all roles are locked already.
pub async fn admit_role(tx: &mut WriteTx, actor: &Actor, circle: CircleUid, least: Role) -> Result<()> {
    let Some(agent) = actor.uid() else { return Ok(()) };
    let role = store::members::find_role(tx, actor.tenant(), circle, agent).await?;
    role.ok_or_else(|| Error::not_found("circle"))?.require(least)
}

/// Bumps the board and notes what happened there. The last step before the commit, after all other locks.
pub async fn note(tx: &mut WriteTx, tenant: TenantId, circle: CircleUid, board: ScopeId, event: Event) -> Result<()> {
    tx.lock_scopes(&[board]).await?;
    tx.bump(&[board]).await?;
    log::insert(tx, tenant, circle, event.name()).await?;
    tx.announce(event);
    Ok(())
}
