//! What an operator sees of circles and does with them at the command line.

use std::slice;

use crate::agents;
use crate::auth::Role;
use crate::circles::model::{CircleOverview, Member};
use crate::circles::service::Actor;
use crate::circles::service::members::join;
use crate::circles::store::{circles, locks, members};
use crate::db::{Db, Intent};
use crate::error::{Error, Result};
use crate::ids::{AgentUid, ExternalId, TenantId};

/// All circles of a tenant, in the order of their ids.
pub async fn overview(db: &Db, tenant: TenantId) -> Result<Vec<CircleOverview>> {
    circles::overview(&mut db.read(tenant).await?, tenant).await
}

/// All members of a circle, in the order of their ids.
pub async fn list_members(db: &Db, tenant: TenantId, id: &ExternalId) -> Result<Vec<Member>> {
    let mut conn = db.read(tenant).await?;
    let circle = circles::find(&mut conn, tenant, id, None).await?.ok_or_else(|| Error::not_found("circle"))?;
    members::list(&mut conn, tenant, circle.circle_uid, None, i64::MAX).await
}

/// Makes an agent the only owner; returns the owners before it, which are editors now.
pub async fn transfer(db: &Db, tenant: TenantId, id: &ExternalId, to: &ExternalId) -> Result<Vec<ExternalId>> {
    let actor = Actor::behind(&Intent::of_operator(tenant));
    let mut tx = db.write(tenant).await?;
    let agents = agents::ensure_to_count(&mut tx, tenant, slice::from_ref(to), false).await?;
    let agent = *agents.get(to).ok_or_else(|| Error::not_found("agent"))?;
    let circle = locks::lock_settings(&mut tx, tenant, id).await?.ok_or_else(|| Error::not_found("circle"))?;
    let owners = members::list_owners(&mut tx, tenant, circle.circle_uid).await?;
    let before: Vec<Member> = owners.into_iter().filter(|owner| owner.agent_uid != agent).collect();
    let mut roles: Vec<(AgentUid, Role)> = before.iter().map(|owner| (owner.agent_uid, Role::Editor)).collect();
    roles.push((agent, Role::Owner));
    let changed = join(&mut tx, &actor, &circle, &roles).await?;
    tx.commit(if changed { slice::from_ref(&circle.board_scope) } else { &[] }).await?;
    Ok(before.into_iter().map(|owner| owner.agent_id).collect())
}
