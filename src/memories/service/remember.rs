//! Remembering: one memory or a batch, all or none.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::agents;
use crate::app::App;
use crate::db::{Attempt, Intent, TenantConn, WriteTx, retrying};
use crate::embeddings::Windows;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::ids::{AgentUid, MemoryId, ScopeId};
use crate::memories::arrivals::{self, Arrival, Hand};
use crate::memories::model::{Memory, NewMemory};
use crate::memories::service::ground::{Asked, Ground};
use crate::memories::service::moves::{check_frozen, put_in, require_editor, take_out};
use crate::memories::service::plan::{Plan, Step};
use crate::memories::service::{Author, forget, numbered, plain};
use crate::memories::text::indexed_text;
use crate::memories::{placements, store};

/// What remembering came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Created,
    /// The key existed: all fields are as sent, and so are the circles, if there were any.
    Replaced,
    /// It was there already: at most it is shared more widely now.
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

/// What is to be remembered, for whom, and what it was embedded to.
pub struct Batch {
    pub author: Author,
    pub new: Vec<NewMemory>,
    pub windows: Vec<Windows>,
    pub asked: Asked,
}

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
    let asked = Asked::of(&new);
    // What the locks would refuse is not embedded first.
    for circle in &asked.circles {
        require_editor(author.role_in(circle))?;
    }
    let texts = new.iter().map(|memory| indexed_text(&memory.fields)).collect();
    let windows = app.embedder.embed_texts(&author.owner, texts).await?;
    let batch = Arc::new(Batch { author, new, windows, asked });
    let db = app.db.clone();
    let work = retrying(move || {
        let (db, batch) = (db.clone(), batch.clone());
        async move {
            match plain::remember(&db, &batch).await? {
                Some(remembered) => Ok(Attempt::Done(remembered)),
                None => attempt(db.write(batch.author.intent.tenant).await?, &batch).await,
            }
        }
    });
    app.db.run(work).await
}

async fn attempt(mut tx: WriteTx, batch: &Batch) -> Result<Attempt<Vec<Remembered>>> {
    let Batch { author, new, asked, .. } = batch;
    let tenant = author.intent.tenant;
    if let Some(receipt) = tx.claim::<Receipt>(&author.intent.once).await? {
        return Ok(Attempt::Done(replay(&mut tx, author, &receipt).await?));
    }
    let agent = agents::ensure(&mut tx, tenant, &author.agent, author.may_create).await?;
    let ground = Ground::lock(&mut tx, tenant, agent, asked, new).await?;
    let equal = store::search_equal(&mut tx, tenant, agent, &asked.keys, &asked.hashes).await?;
    let plan = Plan::of(&equal, new, asked, &ground);
    if !ground.holds(&equal, asked, &plan) {
        return Ok(Attempt::Again);
    }
    let changed = ground.shared_of(&plan.rewritten());
    if !check_frozen(&mut tx, tenant, agent, &ground.held, &changed).await? {
        return Ok(Attempt::Again);
    }
    let touched = write(&mut tx, batch, &ground, &plan).await?;
    let remembered = read_back(&mut tx, author, &plan.steps).await?;
    // Where no memory changed, the agent may still be new, or a receipt due.
    if !touched.is_empty() || tx.is_claimed() || author.uid != Some(agent) {
        let receipt: Receipt = plan.steps.iter().map(|step| (step.id().uuid(), step.outcome())).collect();
        tx.record(&receipt).await?;
        tx.commit(&touched).await?;
    }
    Ok(Attempt::Done(remembered))
}

/// Writes what was decided; returns the scopes it touched.
async fn write(tx: &mut WriteTx, batch: &Batch, ground: &Ground, plan: &Plan) -> Result<Vec<ScopeId>> {
    let touched = plan.touched(ground);
    tx.bump(&touched).await?;
    announce(tx, &plan.steps);
    take_out(tx, &batch.author.intent, &plan.moves.out).await?;
    for (at, step) in plan.steps.iter().enumerate() {
        make_way(tx, batch, step, at).await?;
    }
    create(tx, batch, ground.agent, &plan.steps).await?;
    put_in(tx, &batch.author.intent, ground.agent, &plan.moves.into).await?;
    Ok(touched)
}

/// Deletes what has expired under the key of a new memory, or rewrites the memory. `at`: which of the batch.
async fn make_way(tx: &mut WriteTx, batch: &Batch, step: &Step, at: usize) -> Result<()> {
    let Intent { tenant, principal, .. } = &batch.author.intent;
    let (tenant, fields, windows) = (*tenant, &batch.new[at].fields, &batch.windows[at]);
    match step {
        Step::Create { instead_of: Some(expired), .. } => {
            let scopes = placements::scopes_of(tx, tenant, &[*expired]).await?;
            forget::delete(tx, tenant, &[*expired], &scopes, None).await
        }
        Step::Replace { id, same_text, bytes_before } => {
            tx.count(0, fields.content.len() - bytes_before);
            store::update(tx, tenant, *id, principal, fields).await?;
            let scopes = placements::scopes_of(tx, tenant, &[*id]).await?;
            let scopes = numbered(tx, &scopes)?;
            placements::update(tx, tenant, *id, &scopes, fields, (!same_text).then_some(windows)).await
        }
        Step::Create { .. } | Step::Keep { .. } => Ok(()),
    }
}

/// All that are new, at once.
async fn create(tx: &mut WriteTx, batch: &Batch, agent: AgentUid, steps: &[Step]) -> Result<()> {
    let Intent { tenant, principal, .. } = &batch.author.intent;
    let mut arrivals = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        if let Step::Create { id, .. } = step {
            let fields = &batch.new[at].fields;
            tx.count(1, fields.content.len());
            arrivals.push(Arrival::new(*id, fields, &batch.windows[at]));
        }
    }
    if arrivals.is_empty() {
        return Ok(());
    }
    let n = tx.n(agent.scope())?;
    arrivals::place(tx, *tenant, Hand { agent, principal }, n, &arrivals).await
}

fn announce(tx: &mut WriteTx, steps: &[Step]) {
    let (mut created, mut replaced) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Create { id, .. } => created.push(id.uuid()),
            Step::Replace { id, .. } => replaced.push(id.uuid()),
            Step::Keep { .. } => {}
        }
    }
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
    Ok(in_order(memories, outcomes))
}

/// None if one of the memories is not there.
pub fn in_order(memories: Vec<Memory>, outcomes: &[(MemoryId, Outcome)]) -> Option<Vec<Remembered>> {
    let by_id: HashMap<MemoryId, Memory> = memories.into_iter().map(|memory| (memory.id, memory)).collect();
    let remembered =
        outcomes.iter().map(|(id, outcome)| Some(Remembered { memory: by_id.get(id)?.clone(), outcome: *outcome }));
    remembered.collect()
}
