//! Recall in memory. The scopes are searched at some commit of each; what proves these are their tags, read in the
//! snapshot that the contents come from. If one differs, the index catches up and is searched again.

use time::OffsetDateTime;

use crate::error::{Error, Result};
use crate::ids::Tag;
use crate::memories::Proof;
use crate::recall::index::{Held, HotScopes, Seen, Wanted, pool};
use crate::recall::model::{Mode, Path};
use crate::recall::rank::Pool;
use crate::recall::service::Engine;
use crate::recall::service::contents::{in_order, proven, tags_and_memories};
use crate::recall::service::search::{Found, Hunt};
use crate::sabotage::{self, Guard};
use crate::telemetry::Stage;

/// Scopes that change faster than they can be read are left to Postgres after so many tries.
const MOST_TRIES: usize = 3;

/// Up to so many memories are searched by the thread that is at it; more keep it so long that others take its work.
const SEARCHED_IN_PASSING: usize = 10_000;

/// None: the scopes cannot be searched in memory now.
pub(super) async fn find(engine: &Engine, hunt: &Hunt) -> Result<Option<Found>> {
    let (question, stages) = (&hunt.question, engine.app.metrics.stages());
    let (db, tenant) = (&engine.app.db, question.owner.tenant);
    let Some(index) = &engine.index else { return Ok(None) };
    let Some(held) = index.hold(tenant, &hunt.scopes()) else { return Ok(None) };
    // As the gate saw them, in the statement that let this call in.
    let mut at = Moment { tags: question.places.iter().map(|place| place.tag).collect(), now: question.asked_at };
    for _ in 0..MOST_TRIES {
        let gathered = async {
            let ready = index.is_at(&held, &at.tags) || index.catch_up(db, &held).await?;
            Ok::<_, Error>(if ready { search(index, &held, hunt, at.now) } else { None })
        };
        let Some(seen) = stages.during(Stage::Candidates, gathered).await? else { return Ok(None) };
        let best = stages.measure(Stage::Rank, || hunt.best(&seen.found));
        let (now, memories) = stages.during(Stage::Pack, tags_and_memories(db, hunt, &best)).await?;
        // Of one commit, the index knows what Postgres would say.
        let proof = Proof { next_expiry: seen.next_expiry, ..now };
        if holds(&proof, &seen.tags) {
            let proven = hunt.to_keep.then(|| proven(question, &hunt.pin, &proof));
            return Ok(Some(Found { results: in_order(hunt, best, memories), path: Path::HotIndex, proof: proven }));
        }
        at = Moment { tags: proof.tags, now: proof.now };
    }
    Ok(None)
}

/// What the scopes are to be searched at.
struct Moment {
    tags: Vec<Option<Tag>>,
    now: OffsetDateTime,
}

fn search(index: &HotScopes, held: &Held, hunt: &Hunt, now: OffsetDateTime) -> Option<Seen<Pool>> {
    let wanted = Wanted {
        terms: (hunt.mode != Mode::Semantic).then_some(&hunt.words.terms),
        vector: hunt.vector.as_ref().map(|vector| vector.as_slice()),
        filter: &hunt.question.request.filter,
        depth: hunt.depth(),
        neighbours: hunt.neighbours(),
    };
    let searched = || index.search(held, now, |scopes| pool(scopes, &wanted));
    if held.memories() > SEARCHED_IN_PASSING { tokio::task::block_in_place(searched) } else { searched() }
}

/// Whether nothing changed since: every scope is at the commit it was searched at, and nothing has expired.
fn holds(proof: &Proof, tags: &[Tag]) -> bool {
    let same = proof.tags.len() == tags.len() && proof.tags.iter().zip(tags).all(|(now, then)| *now == Some(*then));
    (same || sabotage::is_off(Guard::IndexTag)) && proof.next_expiry.is_none_or(|at| at > proof.now)
}
