//! Moving locked memories into circles and out of them: placements, audit and events go together. And whether their
//! author may still change what it has shared.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::auth::Role;
use crate::db::{Intent, WriteTx};
use crate::error::{Code, Error, Result};
use crate::events::Event;
use crate::ids::{AgentUid, CircleUid, ExternalId, MemoryId, ScopeId, TenantId};
use crate::memories::locks::HeldMembership;
use crate::memories::placements::Place;
use crate::memories::service::numbered;
use crate::memories::{locks, placements, shares};

/// The places in circles that come, and those that go.
#[derive(Debug, Default, PartialEq)]
pub struct Moves {
    pub into: Vec<Place>,
    pub out: Vec<Place>,
}

impl Moves {
    /// What leads from these places to those.
    pub fn between(before: &BTreeSet<Place>, after: &BTreeSet<Place>) -> Self {
        Self { into: after.difference(before).copied().collect(), out: before.difference(after).copied().collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.into.is_empty() && self.out.is_empty()
    }

    /// The memories that move, some of them more than once.
    pub fn memories(&self) -> impl Iterator<Item = MemoryId> {
        self.into.iter().chain(&self.out).map(|(id, _)| *id)
    }
}

/// Refuses a circle in which the author may not share.
pub fn require_editor(role: Option<Role>) -> Result<()> {
    role.ok_or_else(|| Error::not_found("circle"))?.require(Role::Editor)
}

/// The scopes of these circles, in all of which the author may share.
pub fn admitted(held: &[HeldMembership], circles: &[ExternalId]) -> Result<Vec<ScopeId>> {
    let mut scopes = Vec::with_capacity(circles.len());
    for id in circles {
        let membership = held.iter().find(|membership| membership.circle_id == *id);
        require_editor(membership.map(|membership| membership.role))?;
        scopes.extend(membership.map(|membership| membership.content));
    }
    Ok(scopes)
}

/// Refuses to change what is shared in circles where its author may no longer share. False: what was locked before the
/// memory does not tell; look again.
pub async fn check_frozen(
    tx: &mut WriteTx,
    tenant: TenantId,
    author: AgentUid,
    held: &[HeldMembership],
    circles: &[ScopeId],
) -> Result<bool> {
    let shares_in = |scope: &ScopeId| held.iter().any(|one| one.content == *scope && one.role >= Role::Editor);
    let doubtful: Vec<ScopeId> = circles.iter().copied().filter(|scope| !shares_in(scope)).collect();
    if doubtful.is_empty() {
        return Ok(true);
    }
    let frozen = locks::search_frozen(tx, tenant, author, &doubtful).await?;
    if frozen.is_empty() {
        return Ok(false);
    }
    let names: Vec<&str> = frozen.iter().map(ExternalId::as_str).collect();
    let detail = format!(
        "this memory is shared in circles where its author is no longer editor; it can be forgotten, or an owner of \
         each of them can unshare it: {}",
        names.join(", ")
    );
    Err(Error::refused(Code::SharedReadonly, detail))
}

/// Makes locked memories of one author visible in circles. The scopes are bumped.
pub async fn put_in(tx: &mut WriteTx, intent: &Intent, author: AgentUid, into: &[Place]) -> Result<()> {
    if into.is_empty() {
        return Ok(());
    }
    let to = into.iter().map(|place| Ok((*place, tx.n(place.1)?))).collect::<Result<Vec<_>>>()?;
    placements::copy(tx, intent.tenant, author, &to).await?;
    let shared = shares::insert(tx, intent.tenant, into, &intent.principal).await?;
    for (circle, memories) in by_circle(shared) {
        tx.announce(Event::MemoryShared { memories, circles: vec![circle] });
    }
    Ok(())
}

/// Takes locked memories out of circles; returns those that were there. The scopes are bumped.
pub async fn take_out(tx: &mut WriteTx, intent: &Intent, out: &[Place]) -> Result<Vec<MemoryId>> {
    if out.is_empty() {
        return Ok(Vec::new());
    }
    let mut by_scope: BTreeMap<ScopeId, Vec<MemoryId>> = BTreeMap::new();
    for (id, scope) in out {
        by_scope.entry(*scope).or_default().push(*id);
    }
    for (scope, ids) in by_scope {
        let scope = numbered(tx, &[scope])?;
        placements::delete(tx, intent.tenant, &ids, &scope).await?;
    }
    let ended = shares::end(tx, intent.tenant, out, &intent.principal).await?;
    let taken = ended.iter().map(|(_, id)| *id).collect();
    for (circle, memories) in by_circle(ended) {
        tx.announce(Event::MemoryUnshared { memories, circles: vec![circle] });
    }
    Ok(taken)
}

fn by_circle(places: Vec<(CircleUid, MemoryId)>) -> BTreeMap<Uuid, Vec<Uuid>> {
    let mut by_circle: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
    for (circle, id) in places {
        by_circle.entry(circle.uuid()).or_default().push(id.uuid());
    }
    by_circle
}
