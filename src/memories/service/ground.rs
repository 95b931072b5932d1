//! What remembering stands on: all that it may touch, locked in order, and where that is shared.

use std::collections::BTreeSet;

use crate::db::WriteTx;
use crate::error::Result;
use crate::ids::{AgentUid, ExternalId, MemoryId, ScopeId, TenantId};
use crate::memories::fields::MemoryKey;
use crate::memories::locks::HeldMembership;
use crate::memories::model::NewMemory;
use crate::memories::placements::Place;
use crate::memories::service::moves::admitted;
use crate::memories::service::plan::Plan;
use crate::memories::store::{Stored, content_hash};
use crate::memories::{locks, placements};

/// What a batch names.
pub struct Asked {
    pub keys: Vec<MemoryKey>,
    /// One for each memory, in the order sent.
    pub hashes: Vec<Vec<u8>>,
    /// Each once.
    pub circles: Vec<ExternalId>,
}

impl Asked {
    pub fn of(new: &[NewMemory]) -> Self {
        let circles: BTreeSet<&ExternalId> = new.iter().flat_map(NewMemory::circles).collect();
        Self {
            keys: new.iter().filter_map(|memory| memory.fields.key.clone()).collect(),
            hashes: new.iter().map(|memory| content_hash(&memory.fields.content)).collect(),
            circles: circles.into_iter().cloned().collect(),
        }
    }
}

/// Locked memories of one agent, and its memberships that decide about them.
pub struct Ground {
    pub agent: AgentUid,
    pub held: Vec<HeldMembership>,
    /// For each memory of the batch, where it is to be shared, if that is said.
    pub wanted: Vec<Option<Vec<ScopeId>>>,
    /// Where the locked memories are shared.
    pub shared: BTreeSet<Place>,
    locked: Vec<MemoryId>,
}

impl Ground {
    pub async fn lock(
        tx: &mut WriteTx,
        tenant: TenantId,
        agent: AgentUid,
        asked: &Asked,
        new: &[NewMemory],
    ) -> Result<Self> {
        let held = if asked.keys.is_empty() && asked.circles.is_empty() {
            Vec::new()
        } else {
            locks::lock_for_keys(tx, tenant, agent, &asked.circles, &asked.keys).await?
        };
        let wanted =
            |memory: &NewMemory| memory.circles.as_ref().map(|ids| admitted(&held, ids.as_slice())).transpose();
        let wanted: Vec<Option<Vec<ScopeId>>> = new.iter().map(wanted).collect::<Result<_>>()?;
        // Who shares what is there already changes it.
        let hashes: Vec<Vec<u8>> = asked
            .hashes
            .iter()
            .zip(new)
            .filter(|(_, memory)| memory.fields.key.is_none() && memory.circles().next().is_some())
            .map(|(hash, _)| hash.clone())
            .collect();
        let locked = locks::lock_equal(tx, tenant, agent, &asked.keys, &hashes).await?;
        let mut shared = placements::places_of(tx, tenant, &locked).await?;
        shared.retain(|(_, scope)| *scope != agent.scope());
        let mut scopes: BTreeSet<ScopeId> = shared.iter().map(|(_, scope)| *scope).collect();
        scopes.extend(wanted.iter().flatten().flatten());
        scopes.insert(agent.scope());
        tx.lock_scopes(&Vec::from_iter(scopes)).await?;
        Ok(Self { agent, held, wanted, shared, locked })
    }

    /// Whether all that the plan is about is locked. A memory of one of the keys, or of an equal content, may have
    /// appeared after the locks were taken.
    pub fn holds(&self, equal: &[Stored], asked: &Asked, plan: &Plan) -> bool {
        let mut keyed = equal.iter().filter(|one| one.fields.key.as_ref().is_some_and(|key| asked.keys.contains(key)));
        let is_new = |id: MemoryId| plan.created().any(|created| created == id);
        keyed.all(|stored| self.locked.contains(&stored.memory_id))
            && plan.moves.memories().all(|id| self.locked.contains(&id) || is_new(id))
    }

    /// Where these memories are shared.
    pub fn shared_of(&self, ids: &[MemoryId]) -> Vec<ScopeId> {
        self.shared.iter().filter(|(id, _)| ids.contains(id)).map(|(_, scope)| *scope).collect()
    }
}
