//! Single flight: of many who want the same thing at the same moment, one computes it and the others wait.
//!
//! The stamp is part of what is the same. Who comes after a change waits for nobody who began before it; and a leader
//! reads no older a state than its own stamp, so a follower gets at least what it would have computed itself; unless
//! something has expired between the leader's reading and the follower's coming, which no stamp tells.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use crate::cache::entry::Millis;
use crate::cache::local::Address;
use crate::cache::stamp::Stamp;
use crate::error::{Error, Result};

/// What is computed: where it will lie, and the stamp that was read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Flight {
    pub address: Address,
    pub stamp: Option<Stamp>,
}

/// What was computed, and how far it goes.
#[derive(Debug, Clone)]
pub struct Landed {
    pub value: Bytes,
    pub valid_until: Millis,
    /// It is worse than it could be, for a reason that may have passed before somebody waited for it.
    pub makeshift: bool,
}

/// What a computation came to, for everyone who waited.
type Landing = Result<Landed, Arc<Error>>;

#[derive(Default)]
pub(super) struct Flights {
    under_way: Mutex<HashMap<Flight, watch::Receiver<Option<Landing>>>>,
}

/// Whether to compute or to wait.
pub enum Boarding {
    Lead(Lead),
    Follow(Follow),
}

/// The one who computes. Dropped without landing, it leaves the lead to another.
pub struct Lead {
    flights: Arc<Flights>,
    flight: Flight,
    /// Until it has landed; by then another may fly.
    landing: Option<watch::Sender<Option<Landing>>>,
}

pub struct Follow(watch::Receiver<Option<Landing>>);

impl Flights {
    pub fn board(self: &Arc<Self>, flight: Flight) -> Boarding {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(landing) = under_way.get(&flight) {
            return Boarding::Follow(Follow(landing.clone()));
        }
        let (landing, followers) = watch::channel(None);
        under_way.insert(flight, followers);
        Boarding::Lead(Lead { flights: self.clone(), flight, landing: Some(landing) })
    }

    fn end(&self, flight: &Flight) {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(flight);
    }
}

impl Lead {
    /// Hands what was computed to all who wait. Errors are shared too: each on its own would fail the same way.
    pub fn land(mut self, computed: Result<Landed>) {
        // Before anybody hears of it: who boards again is not to meet the same flight.
        self.flights.end(&self.flight);
        if let Some(landing) = self.landing.take() {
            landing.send_replace(Some(computed.map_err(Arc::new)));
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if self.landing.is_some() {
            self.flights.end(&self.flight);
        }
    }
}

impl Follow {
    /// None if the leader went away before it was done, or what it computed holds no more at this moment: board
    /// again.
    pub async fn landed(mut self, now: Millis) -> Option<Result<Landed>> {
        let landing = self.0.wait_for(Option::is_some).await.ok()?.clone()?;
        match landing {
            Ok(landed) => (landed.valid_until > now).then_some(Ok(landed)),
            Err(error) => Some(Err(error.copy())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::Digest;
    use crate::ids::{Tag, TenantId};

    fn flight() -> Flight {
        let address = Address { tenant: TenantId::new(), digest: Digest([7; 24]) };
        Flight { address, stamp: Stamp::of("1", [(&b"agent"[..], Some(Tag::random()))]) }
    }

    fn lead(flights: &Arc<Flights>, flight: Flight) -> Lead {
        match flights.board(flight) {
            Boarding::Lead(lead) => lead,
            Boarding::Follow(_) => panic!("nobody else leads"),
        }
    }

    fn follow(flights: &Arc<Flights>, flight: Flight) -> Follow {
        match flights.board(flight) {
            Boarding::Follow(follow) => follow,
            Boarding::Lead(_) => panic!("somebody leads"),
        }
    }

    fn stone(valid_until: Millis) -> Landed {
        Landed { value: Bytes::from_static(b"stone"), valid_until, makeshift: false }
    }

    #[tokio::test]
    async fn whoever_comes_while_it_is_computed_gets_the_same() {
        let (flights, flight) = (Arc::<Flights>::default(), flight());
        let leader = lead(&flights, flight);
        let followers: Vec<_> = (0..1_000).map(|_| follow(&flights, flight).landed(99)).collect();
        leader.land(Ok(stone(100)));
        for follower in followers {
            assert_eq!(follower.await.expect("landed").expect("no error").value, "stone");
        }
        lead(&flights, flight);
    }

    #[tokio::test]
    async fn errors_are_shared_and_a_leader_that_goes_away_is_replaced() {
        let (flights, flight) = (Arc::<Flights>::default(), flight());
        let leader = lead(&flights, flight);
        let follower = follow(&flights, flight);
        leader.land(Err(Error::not_found("agent")));
        assert!(follower.landed(0).await.expect("landed").is_err());

        let leader = lead(&flights, flight);
        let follower = follow(&flights, flight);
        drop(leader);
        assert!(follower.landed(0).await.is_none());
        lead(&flights, flight);
    }

    #[tokio::test]
    async fn who_came_after_something_expired_computes_for_itself() {
        let (flights, flight) = (Arc::<Flights>::default(), flight());
        let leader = lead(&flights, flight);
        let (early, late) = (follow(&flights, flight).landed(99), follow(&flights, flight).landed(100));
        leader.land(Ok(stone(100)));
        assert!(early.await.is_some());
        assert!(late.await.is_none());
    }

    #[tokio::test]
    async fn who_hears_of_a_landing_boards_another_flight() {
        let (flights, flight) = (Arc::<Flights>::default(), flight());
        let (first, follower) = (lead(&flights, flight), follow(&flights, flight));
        let (makeshift, boarded) = (Landed { makeshift: true, ..stone(100) }, flights.clone());
        let heard = tokio::spawn(async move {
            let landed = follower.landed(0).await.expect("landed").expect("no error");
            assert!(landed.makeshift, "what was only the best there was says so");
            drop(lead(&boarded, flight));
        });
        first.land(Ok(makeshift));
        heard.await.expect("another flight");
    }

    #[tokio::test]
    async fn a_change_in_between_makes_it_another_flight() {
        let (flights, before) = (Arc::<Flights>::default(), flight());
        let _leader = lead(&flights, before);
        let after = Flight { stamp: flight().stamp, ..before };
        lead(&flights, after);
    }
}
