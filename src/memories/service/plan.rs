//! What remembering a batch comes to: decided in order, so that the second of two equal memories finds the first.

use std::collections::{BTreeSet, HashMap};

use crate::ids::{MemoryId, ScopeId};
use crate::memories::fields::{MemoryFields, MemoryKey};
use crate::memories::model::NewMemory;
use crate::memories::placements::Place;
use crate::memories::service::Outcome;
use crate::memories::service::ground::{Asked, Ground};
use crate::memories::service::moves::Moves;
use crate::memories::store::Stored;
use crate::memories::text::indexed_text;

pub struct Plan {
    /// One for each memory, in the order sent.
    pub steps: Vec<Step>,
    pub moves: Moves,
}

/// What is to be done with one memory of the batch.
#[derive(Debug, PartialEq)]
pub enum Step {
    Create {
        id: MemoryId,
        instead_of: Option<MemoryId>,
    },
    Replace {
        id: MemoryId,
        same_text: bool,
        bytes_before: i64,
    },
    /// It says the same as before; `moved`: its key was sent with other circles.
    Keep {
        id: MemoryId,
        moved: bool,
    },
}

impl Step {
    pub fn id(&self) -> MemoryId {
        match self {
            Self::Create { id, .. } | Self::Replace { id, .. } | Self::Keep { id, .. } => *id,
        }
    }

    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Create { .. } => Outcome::Created,
            Self::Replace { .. } | Self::Keep { moved: true, .. } => Outcome::Replaced,
            Self::Keep { .. } => Outcome::Duplicate,
        }
    }
}

impl Plan {
    pub fn of(equal: &[Stored], new: &[NewMemory], asked: &Asked, ground: &Ground) -> Self {
        let mut steps = decide(equal, new, &asked.hashes);
        let mut after = ground.shared.clone();
        for ((step, memory), wanted) in steps.iter_mut().zip(new).zip(&ground.wanted) {
            let Some(wanted) = wanted else { continue };
            let differs = share(&mut after, step.id(), wanted, memory.fields.key.is_some());
            if let Step::Keep { moved, .. } = step {
                *moved = differs && memory.fields.key.is_some();
            }
        }
        Self { moves: Moves::between(&ground.shared, &after), steps }
    }

    pub fn created(&self) -> impl Iterator<Item = MemoryId> {
        self.steps.iter().filter(|step| step.outcome() == Outcome::Created).map(Step::id)
    }

    /// The memories that their key finds changed, which takes an author who may still change them.
    pub fn rewritten(&self) -> Vec<MemoryId> {
        self.steps.iter().filter(|step| step.outcome() == Outcome::Replaced).map(Step::id).collect()
    }

    /// Every scope whose answers change: of each memory those before and after.
    pub fn touched(&self, ground: &Ground) -> Vec<ScopeId> {
        let mut changed: Vec<MemoryId> = self.moves.memories().collect();
        for step in &self.steps {
            match step {
                Step::Create { id, instead_of } => changed.extend([Some(*id), *instead_of].into_iter().flatten()),
                Step::Replace { id, .. } => changed.push(*id),
                Step::Keep { .. } => {}
            }
        }
        if changed.is_empty() {
            return Vec::new();
        }
        let mut touched = BTreeSet::from([ground.agent.scope()]);
        touched.extend(ground.shared_of(&changed));
        touched.extend(self.moves.into.iter().map(|(_, scope)| *scope));
        Vec::from_iter(touched)
    }
}

/// Adds a memory to these scopes, or with `exactly` takes it out of all others too; true if that changes anything.
fn share(places: &mut BTreeSet<Place>, id: MemoryId, wanted: &[ScopeId], exactly: bool) -> bool {
    let before = places.clone();
    places.retain(|(other, scope)| *other != id || !exactly || wanted.contains(scope));
    places.extend(wanted.iter().map(|scope| (id, *scope)));
    *places != before
}

fn decide(equal: &[Stored], new: &[NewMemory], hashes: &[Vec<u8>]) -> Vec<Step> {
    let by_key: HashMap<&MemoryKey, &Stored> =
        equal.iter().filter_map(|stored| Some((stored.fields.key.as_ref()?, stored))).collect();
    let mut by_hash: HashMap<&[u8], MemoryId> = HashMap::new();
    // Backwards, so that the oldest of several equal memories is the one that stays in the map.
    for stored in equal.iter().rev().filter(|stored| !stored.expired) {
        by_hash.insert(&stored.content_hash, stored.memory_id);
    }
    let mut steps = Vec::with_capacity(new.len());
    for (NewMemory { fields, .. }, hash) in new.iter().zip(hashes) {
        let step = match (&fields.key, by_hash.get(hash.as_slice())) {
            (Some(key), _) => decide_keyed(by_key.get(key).copied(), fields),
            (None, Some(id)) => Step::Keep { id: *id, moved: false },
            (None, None) => Step::Create { id: MemoryId::new(), instead_of: None },
        };
        by_hash.entry(hash).or_insert(step.id());
        steps.push(step);
    }
    steps
}

fn decide_keyed(stored: Option<&Stored>, fields: &MemoryFields) -> Step {
    match stored {
        None => Step::Create { id: MemoryId::new(), instead_of: None },
        // What has expired counts as absent, but is still in the way of the key.
        Some(stored) if stored.expired => Step::Create { id: MemoryId::new(), instead_of: Some(stored.memory_id) },
        Some(stored) if stored.fields == *fields => Step::Keep { id: stored.memory_id, moved: false },
        Some(stored) => {
            let same_text = indexed_text(&stored.fields) == indexed_text(fields);
            Step::Replace { id: stored.memory_id, same_text, bytes_before: stored.fields.content.len() }
        }
    }
}
