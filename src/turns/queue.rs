//! The line that calls wait in. A turn is given back when it is dropped; who stops waiting leaves no hole.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::ids::TenantId;
use crate::turns::schedule::{Charge, Schedule, Ticket};

/// A tenant that has asked for nothing for so long counts no more as one of several.
const FORGET_AFTER_SECS: u64 = 10;

/// Who goes first among the calls of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// Somebody waits for an answer.
    Query,
    /// There is much of it, and it takes its time anyway.
    Bulk,
}

/// So many of a tenant wait already that one more would wait in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Turns at something of which there are a few.
#[derive(Clone)]
pub struct Turns(Arc<Inner>);

struct Inner {
    line: Mutex<Line>,
    weights: BTreeMap<TenantId, u32>,
    most_waiting: usize,
    begun: Instant,
}

struct Line {
    schedule: Schedule,
    called: HashMap<Ticket, oneshot::Sender<Charge>>,
    next_ticket: Ticket,
    forgot: u64,
}

/// How turns are given out.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub turns: usize,
    /// How many of one tenant may wait.
    pub most_waiting: usize,
    /// 1 for those that are not named.
    pub weights: BTreeMap<TenantId, u32>,
}

/// A turn, until it is dropped.
pub struct Turn {
    turns: Turns,
    tenant: TenantId,
    charge: Charge,
    began: Instant,
}

impl Turns {
    pub fn new(rules: Rules) -> Self {
        let Rules { turns, most_waiting, weights } = rules;
        let line = Line { schedule: Schedule::new(turns), called: HashMap::new(), next_ticket: 0, forgot: 0 };
        let (line, begun) = (Mutex::new(line), Instant::now());
        Self(Arc::new(Inner { line, weights, most_waiting, begun }))
    }

    /// Waits for a turn. Dropped before, it waits no longer.
    pub async fn wait(&self, tenant: TenantId, haste: Haste) -> Result<Turn, Full> {
        let (ticket, called) = self.join(tenant, haste)?;
        let mut waiting = Waiting { turns: self, tenant, ticket, called: Some(called) };
        let charge = waiting.until_called().await.ok_or(Full)?;
        Ok(Turn { turns: self.clone(), tenant, charge, began: Instant::now() })
    }

    fn join(&self, tenant: TenantId, haste: Haste) -> Result<(Ticket, oneshot::Receiver<Charge>), Full> {
        let round = self.round();
        let weight = self.0.weights.get(&tenant).copied().unwrap_or(1);
        let (call, called) = oneshot::channel();
        let mut line = self.line();
        if line.schedule.waiting_of(tenant) >= self.0.most_waiting {
            return Err(Full);
        }
        let ticket = line.next_ticket;
        line.next_ticket += 1;
        line.called.insert(ticket, call);
        line.schedule.join(tenant, weight, ticket, haste == Haste::Query, round);
        line.call_up(round);
        Ok((ticket, called))
    }

    /// Seconds since these turns began.
    fn round(&self) -> u64 {
        self.0.begun.elapsed().as_secs() + FORGET_AFTER_SECS
    }

    /// Nothing that is done under this lock can leave it half done.
    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, tenant: TenantId, charge: Charge, took: Duration) {
        let (round, took) = (self.round(), u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        let mut line = self.line();
        line.schedule.leave(tenant, charge, took, round);
        line.call_up(round);
    }
}

impl Line {
    /// Calls whoever is next, as long as there are turns.
    fn call_up(&mut self, round: u64) {
        if self.forgot < round {
            self.forgot = round;
            self.schedule.forget(round.saturating_sub(FORGET_AFTER_SECS));
        }
        while let Some(given) = self.schedule.next() {
            if let Some(call) = self.called.remove(&given.ticket) {
                // Who has just stopped waiting finds the turn in what it drops.
                let _ = call.send(given.charge);
            }
        }
    }
}

/// Somebody in line.
struct Waiting<'a> {
    turns: &'a Turns,
    tenant: TenantId,
    ticket: Ticket,
    /// None: it was called, and has its turn.
    called: Option<oneshot::Receiver<Charge>>,
}

impl Waiting<'_> {
    async fn until_called(&mut self) -> Option<Charge> {
        let charge = self.called.as_mut()?.await.ok();
        self.called = None;
        charge
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(mut called) = self.called.take() else { return };
        let (tenant, round) = (self.tenant, self.turns.round());
        let mut line = self.turns.line();
        line.called.remove(&self.ticket);
        if line.schedule.give_up(tenant, self.ticket) {
            return;
        }
        // It was called at this very moment: the turn goes to the next.
        if let Ok(charge) = called.try_recv() {
            line.schedule.leave(tenant, charge, 0, round);
            line.call_up(round);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.give_back(self.tenant, self.charge, self.began.elapsed());
    }
}
