//! Editing a memory. Text is embedded before the transaction; if the memory changes meanwhile,
//! so that another text would have to be embedded, the edit starts over.

use std::sync::Arc;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::app::App;
use crate::cache::Owner;
use crate::db::{Attempt, Db, Intent, TenantConn, WriteTx, retrying};
use crate::embeddings::Windows;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::http::IfMatch;
use crate::ids::{AgentUid, MemoryId, ScopeId};
use crate::memories::fields::MemoryFields;
use crate::memories::locks::HeldMembership;
use crate::memories::model::{Memory, Reach, check_author};
use crate::memories::patch::MemoryPatch;
use crate::memories::service::moves::{Moves, admitted, check_frozen, put_in, take_out};
use crate::memories::service::numbered;
use crate::memories::text::indexed_text;
use crate::memories::{locks, placements, store};

/// An edit as asked for.
pub struct Edit {
    pub intent: Intent,
    pub owner: Owner,
    pub id: MemoryId,
    pub reach: Reach,
    pub patch: MemoryPatch,
    pub condition: IfMatch,
    /// The database's clock when the request came in.
    pub now: OffsetDateTime,
}

/// A text and what it was embedded to.
struct Embedded {
    text: String,
    windows: Windows,
}

pub async fn edit(app: Arc<App>, edit: Edit) -> Result<Memory> {
    let edit = Arc::new(edit);
    let (db, work) = (app.db.clone(), edit.clone());
    if let Some(memory) = app.db.run(async move { edited_before(&db, &work).await }).await? {
        return Ok(memory);
    }
    edit.patch.check_expiry(edit.now)?;
    let (db, work) = (app.db.clone(), edit.clone());
    let before = app.db.run(async move { read(&db, &work).await }).await?;
    let after = edit.patch.apply(&before.fields)?;
    after.check(&app.config.limits)?;
    let text = indexed_text(&after);
    let embedded = if text == indexed_text(&before.fields) {
        None
    } else {
        let windows = app.embedder.embed_texts(&edit.owner, vec![text.clone()]).await?.pop().unwrap_or_default();
        Some(Embedded { text, windows })
    };
    let (embedded, author) = (Arc::new(embedded), before.agent_uid);
    let db = app.db.clone();
    let work = retrying(move || {
        let (db, edit, embedded) = (db.clone(), edit.clone(), embedded.clone());
        async move { attempt(db.write(edit.intent.tenant).await?, &edit, author, embedded.as_ref().as_ref()).await }
    });
    app.db.run(work).await
}

/// What an earlier sending of this edit left: found before its text is embedded again.
async fn edited_before(db: &Db, edit: &Edit) -> Result<Option<Memory>> {
    match db.receipt(&edit.intent).await? {
        Some(author) => replay(&mut db.read(edit.intent.tenant).await?, edit, author).await.map(Some),
        None => Ok(None),
    }
}

/// The memory as it is now.
async fn replay(conn: &mut TenantConn, edit: &Edit, author: Uuid) -> Result<Memory> {
    edit.reach.check_replay(author)?;
    store::find(conn, edit.intent.tenant, edit.id, &edit.reach).await?.ok_or_else(|| Error::gone("memory"))
}

async fn read(db: &Db, edit: &Edit) -> Result<Memory> {
    let tenant = edit.intent.tenant;
    let memory = store::find(&mut db.read(tenant).await?, tenant, edit.id, &edit.reach).await?;
    permitted(memory, edit)
}

/// The memory, if it is there, the caller's to change, and as the caller believes it to be.
fn permitted(memory: Option<Memory>, edit: &Edit) -> Result<Memory> {
    let memory = memory.ok_or_else(|| Error::not_found("memory"))?;
    check_author(&memory, &edit.reach)?;
    edit.condition.check(memory.etag())?;
    Ok(memory)
}

/// What an edit stands on, locked in order.
struct Ground {
    held: Vec<HeldMembership>,
    /// Where the memory is shared.
    circles: Vec<ScopeId>,
    moves: Moves,
    /// Its scopes before and after.
    scopes: Vec<ScopeId>,
}

/// None: the memory is gone.
async fn lock(tx: &mut WriteTx, edit: &Edit, author: AgentUid) -> Result<Option<Ground>> {
    let (tenant, named) = (edit.intent.tenant, edit.patch.circles());
    let held = locks::lock_for_memory(tx, tenant, author, named.unwrap_or_default(), edit.id).await?;
    let wanted = named.map(|circles| admitted(&held, circles)).transpose()?;
    if !locks::lock(tx, tenant, edit.id).await? {
        return Ok(None);
    }
    let mut shared = placements::places_of(tx, tenant, &[edit.id]).await?;
    shared.retain(|(_, scope)| *scope != author.scope());
    let moves = match wanted {
        Some(wanted) => Moves::between(&shared, &wanted.into_iter().map(|scope| (edit.id, scope)).collect()),
        None => Moves::default(),
    };
    let circles: Vec<ScopeId> = shared.iter().map(|(_, scope)| *scope).collect();
    let added = moves.into.iter().map(|(_, scope)| *scope);
    let scopes: Vec<ScopeId> = circles.iter().copied().chain(added).chain([author.scope()]).collect();
    tx.lock_scopes(&scopes).await?;
    Ok(Some(Ground { held, circles, moves, scopes }))
}

async fn attempt(
    mut tx: WriteTx,
    edit: &Edit,
    author: AgentUid,
    embedded: Option<&Embedded>,
) -> Result<Attempt<Memory>> {
    let tenant = edit.intent.tenant;
    if let Some(author) = tx.claim(&edit.intent.once).await? {
        return Ok(Attempt::Done(replay(&mut tx, edit, author).await?));
    }
    let Some(ground) = lock(&mut tx, edit, author).await? else { return Err(Error::not_found("memory")) };
    let before = permitted(store::find(&mut tx, tenant, edit.id, &edit.reach).await?, edit)?;
    tx.record(&before.agent_uid).await?;
    let after = edit.patch.apply(&before.fields)?;
    if after == before.fields && ground.moves.is_empty() {
        tx.commit(&[]).await?;
        return Ok(Attempt::Done(before));
    }
    if !check_frozen(&mut tx, tenant, author, &ground.held, &ground.circles).await? {
        return Ok(Attempt::Again);
    }
    tx.bump(&ground.scopes).await?;
    take_out(&mut tx, &edit.intent, &ground.moves.out).await?;
    if after != before.fields {
        write(&mut tx, edit, &before.fields, &after, embedded).await?;
    }
    put_in(&mut tx, &edit.intent, author, &ground.moves.into).await?;
    let memory = store::find(&mut tx, tenant, edit.id, &edit.reach).await?;
    tx.commit(&ground.scopes).await?;
    Ok(Attempt::Done(memory.ok_or_else(|| Error::not_found("memory"))?))
}

/// Writes what the memory says now, in every scope where it is still placed.
async fn write(
    tx: &mut WriteTx,
    edit: &Edit,
    before: &MemoryFields,
    after: &MemoryFields,
    embedded: Option<&Embedded>,
) -> Result<()> {
    let tenant = edit.intent.tenant;
    let text = indexed_text(after);
    let windows = match embedded {
        _ if text == indexed_text(before) => None,
        Some(embedded) if embedded.text == text => Some(&embedded.windows),
        // Someone edited the other half of the text after it was embedded.
        _ => return Err(Error::changed_meanwhile()),
    };
    store::update(tx, tenant, edit.id, &edit.intent.principal, after).await?;
    tx.count(0, after.content.len() - before.content.len());
    let scopes = placements::scopes_of(tx, tenant, &[edit.id]).await?;
    let numbered = numbered(tx, &scopes)?;
    placements::update(tx, tenant, edit.id, &numbered, after, windows).await?;
    tx.announce(Event::MemoryUpdated { memories: vec![edit.id.uuid()] });
    Ok(())
}
