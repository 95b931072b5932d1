//! What becomes of shared memories when a member leaves its circle, or the circle goes. All at once, however many they
//! are: the memories are locked by id, then every scope they touch together with those that the caller names.

use crate::db::{Intent, WriteTx};
use crate::error::Result;
use crate::events::Event;
use crate::ids::{AgentUid, MemoryId, ScopeId};
use crate::memories::locks::SharedIn;
use crate::memories::placements::Place;
use crate::memories::service::bump_all;
use crate::memories::service::moves::take_out;
use crate::memories::{locks, placements, shares};

/// Takes what an author has shared along as it leaves the circle, where its membership is locked for good. Returns
/// those memories and the scopes touched, which are bumped; `also` is among them.
pub async fn unshare_all_of(
    tx: &mut WriteTx,
    intent: &Intent,
    circle: SharedIn,
    author: AgentUid,
    also: &[ScopeId],
) -> Result<(Vec<MemoryId>, Vec<ScopeId>)> {
    let locked = locks::lock_shared(tx, intent.tenant, circle.content, Some(author)).await?;
    let touched = bump_all(tx, intent.tenant, &locked, also).await?;
    let shared: Vec<Place> = locked.iter().map(|id| (*id, circle.content)).collect();
    let taken = take_out(tx, intent, &shared).await?;
    Ok((taken, touched))
}

/// Empties a circle that is to be deleted, and is locked for it; its audit goes too. Returns how many memories were
/// shared there and the scopes touched, which are bumped; `board` is among them.
pub async fn clear_circle(
    tx: &mut WriteTx,
    intent: &Intent,
    circle: SharedIn,
    board: ScopeId,
) -> Result<(u64, Vec<ScopeId>)> {
    let locked = locks::lock_shared(tx, intent.tenant, circle.content, None).await?;
    let touched = bump_all(tx, intent.tenant, &locked, &[circle.content, board]).await?;
    let gone = placements::delete_all(tx, intent.tenant, circle.content).await?;
    shares::delete(tx, intent.tenant, circle.circle).await?;
    if !gone.is_empty() {
        let memories = gone.iter().map(|id| id.uuid()).collect();
        tx.announce(Event::MemoryUnshared { memories, circles: vec![circle.circle.uuid()] });
    }
    Ok((gone.len() as u64, touched))
}
