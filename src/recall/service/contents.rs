//! What both ways end with: the contents of what was found, and what proves them.

use std::collections::HashMap;

use crate::cache::{Millis, Proven, millis};
use crate::db::{Db, TenantConn};
use crate::error::Result;
use crate::ids::{MemoryId, ScopeId};
use crate::memories::{Memory, Proof, find_many};
use crate::recall::model::{Recalled, ViaKind};
use crate::recall::rank::Ranked;
use crate::recall::service::search::Hunt;
use crate::recall::service::{Asker, Place, Question, stamp};

/// What proves an answer from this snapshot.
pub(super) async fn proof(conn: &mut TenantConn, question: &Question) -> Result<Proof> {
    let scopes: Vec<ScopeId> = question.places.iter().map(|place| place.scope).collect();
    Proof::read(conn, question.owner.tenant, question.asker.map(|asker| asker.scope), &scopes).await
}

/// The stamp of the snapshot, and until when an answer from it holds.
pub(super) fn proven(question: &Question, pin: &str, proof: &Proof) -> Proven {
    let now_tagged = question.places.iter().zip(&proof.tags).map(|(place, tag)| Place { tag: *tag, ..place.clone() });
    let asker = question.asker.map(|asker| Asker { tag: proof.agent_tag, ..asker });
    let stamp = stamp(pin, proof.tenant_tag, asker, &now_tagged.collect::<Vec<_>>());
    let valid_until = proof.next_expiry.map_or(Millis::MAX, millis);
    Proven { stamp, now: millis(proof.now), valid_until }
}

/// What is known of the best, in their order: the final read, under row security, is the second layer of isolation.
pub(super) async fn results(conn: &mut TenantConn, hunt: &Hunt, best: Vec<Ranked>) -> Result<Vec<Recalled>> {
    let memories = find_many(conn, hunt.question.owner.tenant, &ids(&best), Some(&hunt.scopes())).await?;
    Ok(in_order(hunt, best, memories))
}

/// The tags as they are now and the contents, in one round trip.
pub(super) async fn tags_and_memories(db: &Db, hunt: &Hunt, best: &[Ranked]) -> Result<(Proof, Vec<Memory>)> {
    let Question { owner, asker, places, .. } = &*hunt.question;
    let asker = asker.map(|asker| asker.scope);
    let circles = places.iter().filter(|place| place.via.kind == ViaKind::Circle).map(|place| place.scope);
    let circles: Vec<ScopeId> = circles.collect();
    Proof::with_memories(db, owner.tenant, asker, (&hunt.scopes(), &circles), &ids(best)).await
}

fn ids(best: &[Ranked]) -> Vec<MemoryId> {
    best.iter().map(|one| one.id).collect()
}

/// The best, with their contents; what could not be read is left out.
pub(super) fn in_order(hunt: &Hunt, best: Vec<Ranked>, memories: Vec<Memory>) -> Vec<Recalled> {
    let Question { places, request, .. } = &*hunt.question;
    let explain = request.explain.is_wanted();
    let mut memories: HashMap<MemoryId, Memory> = memories.into_iter().map(|memory| (memory.id, memory)).collect();
    let results = best.into_iter().filter_map(|one| {
        let place = places.iter().find(|place| place.scope == one.scope)?;
        Some(Recalled {
            memory: memories.remove(&one.id)?,
            score: one.score,
            via: place.via.clone(),
            explain: explain.then_some(one.explain),
        })
    });
    results.collect()
}
