//! Sharing one memory with one circle, and taking it back.

use uuid::Uuid;

use crate::auth::Role;
use crate::db::{Db, Intent, TenantConn, WriteTx};
use crate::error::{Code, Error, Result};
use crate::http::IfMatch;
use crate::ids::{ExternalId, MemoryId};
use crate::memories::model::{Memory, Reach, check_author};
use crate::memories::placements::Place;
use crate::memories::service::moves::{admitted, put_in, take_out};
use crate::memories::{locks, placements, store};

/// A memory and a circle, and who asks.
pub struct Sharing {
    pub intent: Intent,
    pub reach: Reach,
    pub id: MemoryId,
    pub circle: ExternalId,
}

impl Sharing {
    async fn find(&self, conn: &mut TenantConn) -> Result<Memory> {
        let memory = store::find(conn, self.intent.tenant, self.id, &self.reach).await?;
        memory.ok_or_else(|| Error::not_found("memory"))
    }

    /// Locks the memory, which must still be there, and returns its places.
    async fn places(&self, tx: &mut WriteTx) -> Result<Vec<Place>> {
        if !locks::lock(tx, self.intent.tenant, self.id).await? {
            return Err(Error::not_found("memory"));
        }
        let places = placements::places_of(tx, self.intent.tenant, &[self.id]).await?;
        Ok(places.into_iter().collect())
    }
}

/// Makes the memory visible in the circle; true if it was not.
pub async fn share(db: Db, sharing: Sharing) -> Result<(Memory, bool)> {
    let tenant = sharing.intent.tenant;
    let mut tx = db.write(tenant).await?;
    if let Some((author, added)) = tx.claim::<(Uuid, bool)>(&sharing.intent.once).await? {
        sharing.reach.check_replay(author)?;
        let memory = store::find(&mut tx, tenant, sharing.id, &sharing.reach).await?;
        return Ok((memory.ok_or_else(|| Error::gone("memory"))?, added));
    }
    let memory = sharing.find(&mut tx).await?;
    check_author(&memory, &sharing.reach)?;
    let (author, named) = (memory.agent_uid, std::slice::from_ref(&sharing.circle));
    let held = locks::lock_for_memory(&mut tx, tenant, author, named, sharing.id).await?;
    let wanted: Vec<Place> = admitted(&held, named)?.into_iter().map(|scope| (sharing.id, scope)).collect();
    let places = sharing.places(&mut tx).await?;
    let added: Vec<Place> = wanted.into_iter().filter(|place| !places.contains(place)).collect();
    let touched: Vec<_> = places.iter().chain(&added).map(|(_, scope)| *scope).collect();
    tx.lock_scopes(&touched).await?;
    // It may have expired meanwhile.
    let memory = sharing.find(&mut tx).await?;
    tx.record(&(author.uuid(), !added.is_empty())).await?;
    if added.is_empty() {
        tx.commit(&[]).await?;
        return Ok((memory, false));
    }
    tx.bump(&touched).await?;
    put_in(&mut tx, &sharing.intent, author, &added).await?;
    let memory = sharing.find(&mut tx).await?;
    tx.commit(&touched).await?;
    Ok((memory, true))
}

/// Takes the memory out of the circle. `may_manage`: a trusted back end may do so for any circle.
pub async fn unshare(db: Db, sharing: Sharing, condition: IfMatch, may_manage: bool) -> Result<()> {
    let tenant = sharing.intent.tenant;
    let mut tx = db.write(tenant).await?;
    if let Some(agent) = tx.claim(&sharing.intent.once).await? {
        return sharing.reach.check_replay(agent);
    }
    let memory = sharing.find(&mut tx).await?;
    let agent = sharing.reach.acting.unwrap_or(memory.agent_uid);
    let held = locks::lock_membership(&mut tx, tenant, agent, &sharing.circle).await?;
    let content = match &held {
        Some(held) => Some(held.content),
        None => locks::lock_circle(&mut tx, tenant, &sharing.circle).await?,
    };
    let content = content.ok_or_else(|| Error::not_found("circle"))?;
    check_unsharing(&sharing.reach, &memory, held.map(|held| held.role), may_manage)?;
    let places = sharing.places(&mut tx).await?;
    let shared = (sharing.id, content);
    if !places.contains(&shared) {
        return Err(Error::not_found("share"));
    }
    let touched: Vec<_> = places.iter().map(|(_, scope)| *scope).collect();
    tx.lock_scopes(&touched).await?;
    condition.check(sharing.find(&mut tx).await?.etag())?;
    tx.bump(&touched).await?;
    take_out(&mut tx, &sharing.intent, &[shared]).await?;
    tx.record(&agent.uuid()).await?;
    tx.commit(&touched).await
}

/// Its author while it is editor there, any owner of the circle, and back ends that act for either. `role` is that of
/// the acting agent, or of the author.
fn check_unsharing(reach: &Reach, memory: &Memory, role: Option<Role>, may_manage: bool) -> Result<()> {
    match (reach.acting, role) {
        (Some(_), None) => Err(Error::not_found("circle")),
        (Some(agent), Some(role)) => role.require(if agent == memory.agent_uid { Role::Editor } else { Role::Owner }),
        (None, Some(Role::Editor | Role::Owner)) => Ok(()),
        (None, _) if may_manage => Ok(()),
        (None, _) => {
            let detail =
                "the author may no longer unshare it there; doing so all the same takes the scope circles:manage";
            Err(Error::refused(Code::InsufficientScope, detail))
        }
    }
}
