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
use crate::ids::MemoryId;
use crate::memories::model::{Memory, Reach, check_author};
use crate::memories::patch::MemoryPatch;
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
    let embedded = Arc::new(embedded);
    let db = app.db.clone();
    let work = retrying(move || {
        let (db, edit, embedded) = (db.clone(), edit.clone(), embedded.clone());
        async move { attempt(db.write(edit.intent.tenant).await?, &edit, embedded.as_ref().as_ref()).await }
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

async fn attempt(mut tx: WriteTx, edit: &Edit, embedded: Option<&Embedded>) -> Result<Attempt<Memory>> {
    let tenant = edit.intent.tenant;
    if let Some(author) = tx.claim(&edit.intent.once).await? {
        return Ok(Attempt::Done(replay(&mut tx, edit, author).await?));
    }
    if !locks::lock(&mut tx, tenant, edit.id).await? {
        return Err(Error::not_found("memory"));
    }
    let scopes = placements::scopes_of(&mut tx, tenant, &[edit.id]).await?;
    tx.lock_scopes(&scopes).await?;
    let before = permitted(store::find(&mut tx, tenant, edit.id, &edit.reach).await?, edit)?;
    tx.record(&before.agent_uid).await?;
    let after = edit.patch.apply(&before.fields)?;
    if after == before.fields {
        tx.commit(&[]).await?;
        return Ok(Attempt::Done(before));
    }
    let text = indexed_text(&after);
    let windows = match embedded {
        _ if text == indexed_text(&before.fields) => None,
        Some(embedded) if embedded.text == text => Some(&embedded.windows),
        // Someone edited the other half of the text after it was embedded.
        _ => return Err(Error::changed_meanwhile()),
    };
    tx.bump(&scopes).await?;
    store::update(&mut tx, tenant, edit.id, &edit.intent.principal, &after).await?;
    tx.count(0, after.content.len() - before.fields.content.len());
    let numbered = numbered(&tx, &scopes)?;
    placements::update(&mut tx, tenant, edit.id, &numbered, &after, windows).await?;
    let memory = store::find(&mut tx, tenant, edit.id, &edit.reach).await?;
    tx.announce(Event::MemoryUpdated { memories: vec![edit.id.uuid()] });
    tx.commit(&scopes).await?;
    Ok(Attempt::Done(memory.ok_or_else(|| Error::not_found("memory"))?))
}
