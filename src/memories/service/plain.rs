//! The common case of remembering: an agent that is known says what it has not said before, under no key and to no
//! circle. One call of a function does it. Whatever is less plain, and a plain batch that turns out to repeat
//! something, takes the long way, which decides about each memory.

use std::collections::HashSet;

use crate::db::Db;
use crate::error::Result;
use crate::events::Event;
use crate::ids::MemoryId;
use crate::memories::arrivals::{self, Arrival};
use crate::memories::service::remember::{Batch, Outcome, Remembered, in_order};
use crate::sabotage::{Guard, is_off};

/// None: nothing was written.
pub async fn remember(db: &Db, batch: &Batch) -> Result<Option<Vec<Remembered>>> {
    if !is_plain(batch) {
        return Ok(None);
    }
    let Batch { author, new, windows, .. } = batch;
    let ids: Vec<MemoryId> = new.iter().map(|_| MemoryId::new()).collect();
    let arrivals = new.iter().zip(windows).zip(&ids);
    let arrivals: Vec<_> = arrivals.map(|((new, windows), id)| Arrival::new(*id, &new.fields, windows)).collect();
    let intent = &author.intent;
    let call = db.write_call(intent.tenant).await?;
    let written = arrivals::remember(call, intent.tenant, &author.agent, &intent.principal, &arrivals).await?;
    let Some(first) = written.first() else { return Ok(None) };
    let event = Event::MemoryCreated { memories: ids.iter().map(|id| id.uuid()).collect() };
    db.announce(intent.tenant, vec![first.agent_uid.scope()], event);
    let outcomes: Vec<_> = ids.into_iter().map(|id| (id, Outcome::Created)).collect();
    Ok(in_order(written, &outcomes))
}

fn is_plain(batch: &Batch) -> bool {
    let Batch { author, asked, .. } = batch;
    let mut seen = HashSet::new();
    author.uid.is_some()
        && !author.intent.once.is_keyed()
        && asked.keys.is_empty()
        && asked.circles.is_empty()
        && asked.hashes.iter().all(|hash| seen.insert(hash))
        && !is_off(Guard::RandomTag)
}
