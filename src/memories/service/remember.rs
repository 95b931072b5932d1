//! Remembering: one memory or a batch, all or none.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::agents;
use crate::app::App;
use crate::db::{Attempt, TenantConn, WriteTx, retrying};
use crate::embeddings::Windows;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::ids::{AgentUid, MemoryId, ScopeId};
use crate::memories::fields::{MemoryFields, MemoryKey};
use crate::memories::model::{Memory, NewMemory};
use crate::memories::service::{Author, numbered};
use crate::memories::store::{Hand, Stored, content_hash};
use crate::memories::text::indexed_text;
use crate::memories::{locks, placements, store};

/// What remembering came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Created,
    /// The key existed: all fields are as sent.
    Replaced,
    /// It was there already: nothing changed.
    Duplicate,
}

/// One item of a batch, in the order sent.
#[derive(Debug, Serialize, ToSchema)]
pub struct Remembered {
    pub memory: Memory,
    pub outcome: Outcome,
}

/// What became of each memory, in the order sent.
type Receipt = Vec<(Uuid, Outcome)>;

/// What an earlier sending of the same request came to: found before anything is embedded again.
pub async fn remembered_before(app: &App, author: &Author) -> Result<Option<Vec<Remembered>>> {
    if !author.intent.once.is_keyed() {
        return Ok(None);
    }
    let (db, author) = (app.db.clone(), author.clone());
    let look = async move {
        match db.receipt::<Receipt>(&author.intent).await? {
            Some(receipt) => replay(&mut db.read(author.intent.tenant).await?, &author, &receipt).await.map(Some),
            None => Ok(None),
        }
    };
    app.db.run(look).await
}

/// Remembers in the order given. When this returns, every memory can be recalled, on any instance.
pub async fn remember(app: Arc<App>, author: Author, new: Vec<NewMemory>) -> Result<Vec<Remembered>> {
    if new.iter().any(|memory| memory.circles.as_ref().is_some_and(|circles| !circles.is_empty())) {
        return Err(Error::not_found("circle"));
    }
    let fields: Vec<MemoryFields> = new.into_iter().map(|memory| memory.fields).collect();
    let texts = fields.iter().map(indexed_text).collect();
    let windows = app.embedder.embed_texts(&author.owner, texts).await?;
    let batch = Arc::new((author, fields, windows));
    let db = app.db.clone();
    let work = retrying(move || {
        let (db, batch) = (db.clone(), batch.clone());
        async move {
            let (author, fields, windows) = &*batch;
            attempt(db.write(author.intent.tenant).await?, author, fields, windows).await
        }
    });
    app.db.run(work).await
}

async fn attempt(
    mut tx: WriteTx,
    author: &Author,
    new: &[MemoryFields],
    windows: &[Windows],
) -> Result<Attempt<Vec<Remembered>>> {
    let tenant = author.intent.tenant;
    if let Some(receipt) = tx.claim::<Receipt>(&author.intent.once).await? {
        return Ok(Attempt::Done(replay(&mut tx, author, &receipt).await?));
    }
    let agent = agents::ensure(&mut tx, tenant, &author.agent, author.may_create).await?;
    let keys: Vec<MemoryKey> = new.iter().filter_map(|fields| fields.key.clone()).collect();
    let locked = if keys.is_empty() { Vec::new() } else { locks::lock_keys(&mut tx, tenant, agent, &keys).await? };
    let mut scopes = placements::scopes_of(&mut tx, tenant, &locked).await?;
    scopes.push(agent.scope());
    scopes.sort_unstable();
    scopes.dedup();
    tx.lock_scopes(&scopes).await?;

    let hashes: Vec<Vec<u8>> = new.iter().map(|fields| content_hash(&fields.content)).collect();
    let equal = store::search_equal(&mut tx, tenant, agent, &keys, &hashes).await?;
    if !all_locked(&equal, &keys, &locked) {
        return Ok(Attempt::Again);
    }
    let steps = decide(&equal, new, &hashes);
    let touched = write(&mut tx, author, agent, &steps, new, windows).await?;
    let remembered = read_back(&mut tx, author, &steps).await?;
    // Where no memory changed, the agent may still be new, or a receipt due.
    if !touched.is_empty() || tx.is_claimed() || author.uid != Some(agent) {
        let receipt: Receipt = steps.iter().map(|step| (step.id().uuid(), step.outcome())).collect();
        tx.record(&receipt).await?;
        announce(&mut tx, &steps);
        tx.commit(&touched).await?;
    }
    Ok(Attempt::Done(remembered))
}

/// A memory of one of the keys that appeared after the locks were taken is not locked.
fn all_locked(equal: &[Stored], keys: &[MemoryKey], locked: &[MemoryId]) -> bool {
    let keyed = equal.iter().filter(|stored| stored.fields.key.as_ref().is_some_and(|key| keys.contains(key)));
    keyed.into_iter().all(|stored| locked.contains(&stored.memory_id))
}

/// What is to be done with one memory of the batch.
#[derive(Debug, PartialEq)]
enum Step {
    Create { id: MemoryId, instead_of: Option<MemoryId> },
    Replace { id: MemoryId, same_text: bool, bytes_before: i64 },
    Keep { id: MemoryId },
}

impl Step {
    fn id(&self) -> MemoryId {
        match self {
            Self::Create { id, .. } | Self::Replace { id, .. } | Self::Keep { id } => *id,
        }
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::Create { .. } => Outcome::Created,
            Self::Replace { .. } => Outcome::Replaced,
            Self::Keep { .. } => Outcome::Duplicate,
        }
    }
}

/// Decides in order, so that the second of two equal memories of a batch finds the first.
fn decide(equal: &[Stored], new: &[MemoryFields], hashes: &[Vec<u8>]) -> Vec<Step> {
    let by_key: HashMap<&MemoryKey, &Stored> =
        equal.iter().filter_map(|stored| Some((stored.fields.key.as_ref()?, stored))).collect();
    let mut by_hash: HashMap<&[u8], MemoryId> = HashMap::new();
    // Backwards, so that the oldest of several equal memories is the one that stays in the map.
    for stored in equal.iter().rev().filter(|stored| !stored.expired) {
        by_hash.insert(&stored.content_hash, stored.memory_id);
    }
    let mut steps = Vec::with_capacity(new.len());
    for (fields, hash) in new.iter().zip(hashes) {
        let step = match (&fields.key, by_hash.get(hash.as_slice())) {
            (Some(key), _) => decide_keyed(by_key.get(key).copied(), fields),
            (None, Some(id)) => Step::Keep { id: *id },
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
        Some(stored) if stored.fields == *fields => Step::Keep { id: stored.memory_id },
        Some(stored) => {
            let same_text = indexed_text(&stored.fields) == indexed_text(fields);
            Step::Replace { id: stored.memory_id, same_text, bytes_before: stored.fields.content.len() }
        }
    }
}

/// Writes what was decided; returns the scopes it touched.
async fn write(
    tx: &mut WriteTx,
    author: &Author,
    agent: AgentUid,
    steps: &[Step],
    new: &[MemoryFields],
    windows: &[Windows],
) -> Result<Vec<ScopeId>> {
    let changed: Vec<MemoryId> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Create { instead_of, .. } => *instead_of,
            Step::Replace { id, .. } => Some(*id),
            Step::Keep { .. } => None,
        })
        .collect();
    let mut touched = placements::scopes_of(tx, author.intent.tenant, &changed).await?;
    if steps.iter().any(|step| matches!(step, Step::Create { .. })) && !touched.contains(&agent.scope()) {
        touched.push(agent.scope());
    }
    tx.bump(&touched).await?;
    for ((step, fields), windows) in steps.iter().zip(new).zip(windows) {
        write_one(tx, author, agent, step, fields, windows).await?;
    }
    Ok(touched)
}

async fn write_one(
    tx: &mut WriteTx,
    author: &Author,
    agent: AgentUid,
    step: &Step,
    fields: &MemoryFields,
    windows: &Windows,
) -> Result<()> {
    let tenant = author.intent.tenant;
    match step {
        Step::Create { id, instead_of } => {
            if let Some(expired) = instead_of {
                let scopes = placements::scopes_of(tx, tenant, &[*expired]).await?;
                let scopes = numbered(tx, &scopes)?;
                placements::delete(tx, tenant, &[*expired], &scopes).await?;
                let (gone, bytes) = store::delete(tx, tenant, &[*expired], None).await?;
                tx.count(-gone, -bytes);
            }
            tx.count(1, fields.content.len());
            let hand = Hand { agent, principal: &author.intent.principal };
            store::insert(tx, tenant, *id, hand, fields).await?;
            let scopes = numbered(tx, &[agent.scope()])?;
            placements::insert(tx, tenant, *id, &scopes, fields, windows).await
        }
        Step::Replace { id, same_text, bytes_before } => {
            tx.count(0, fields.content.len() - bytes_before);
            store::update(tx, tenant, *id, &author.intent.principal, fields).await?;
            let scopes = placements::scopes_of(tx, tenant, &[*id]).await?;
            let scopes = numbered(tx, &scopes)?;
            placements::update(tx, tenant, *id, &scopes, fields, (!same_text).then_some(windows)).await
        }
        Step::Keep { .. } => Ok(()),
    }
}

fn announce(tx: &mut WriteTx, steps: &[Step]) {
    let ids = |wanted| {
        let steps = steps.iter().filter(move |step| step.outcome() == wanted);
        steps.map(|step| step.id().uuid()).collect::<Vec<Uuid>>()
    };
    let (created, replaced) = (ids(Outcome::Created), ids(Outcome::Replaced));
    if !created.is_empty() {
        tx.announce(Event::MemoryCreated { memories: created });
    }
    if !replaced.is_empty() {
        tx.announce(Event::MemoryUpdated { memories: replaced });
    }
}

async fn read_back(tx: &mut WriteTx, author: &Author, steps: &[Step]) -> Result<Vec<Remembered>> {
    let outcomes: Vec<(MemoryId, Outcome)> = steps.iter().map(|step| (step.id(), step.outcome())).collect();
    // One can only be missing if it expired while it was being written.
    read(tx, author, &outcomes).await?.ok_or_else(|| Error::not_found("memory"))
}

/// The memories of an earlier sending as they are now.
async fn replay(conn: &mut TenantConn, author: &Author, receipt: &Receipt) -> Result<Vec<Remembered>> {
    let outcomes: Vec<_> = receipt.iter().map(|(id, outcome)| (MemoryId::from_uuid(*id), *outcome)).collect();
    read(conn, author, &outcomes).await?.ok_or_else(|| Error::gone("memory"))
}

/// None if one of the memories is not there.
async fn read(
    conn: &mut TenantConn,
    author: &Author,
    outcomes: &[(MemoryId, Outcome)],
) -> Result<Option<Vec<Remembered>>> {
    let ids: Vec<MemoryId> = outcomes.iter().map(|(id, _)| *id).collect();
    let memories = store::find_many(conn, author.intent.tenant, &ids, author.reach.circles.as_deref()).await?;
    let by_id: HashMap<MemoryId, Memory> = memories.into_iter().map(|memory| (memory.id, memory)).collect();
    let remembered =
        outcomes.iter().map(|(id, outcome)| Some(Remembered { memory: by_id.get(id)?.clone(), outcome: *outcome }));
    Ok(remembered.collect())
}
