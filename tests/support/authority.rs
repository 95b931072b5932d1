//! Promise P2, judged afterwards: what is taken from an agent is gone from the moment the taking is acknowledged, for
//! calls that begin then and end before it is given back. One clock, whichever it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

/// What happens to an agent's right, in this order, over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Somebody is about to ask for it to be taken.
    Taking,
    /// That is acknowledged.
    Taken,
    Giving,
    Given,
}

/// What an agent asked for, and what came of it.
#[derive(Debug, Clone)]
pub struct Call {
    /// No other call has it.
    pub number: usize,
    pub agent: usize,
    pub what: &'static str,
    pub is_write: bool,
    pub sent: Duration,
    pub done: Duration,
    /// None: there was no answer.
    pub status: Option<u16>,
    /// The answer shows something of what only those with the right may see.
    pub shows: bool,
    pub is_hit: bool,
}

impl Call {
    fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| status < 300)
    }
}

/// Who had which right when, and all calls.
#[derive(Default)]
pub struct Authority {
    turns: Mutex<BTreeMap<usize, Vec<(Duration, Turn)>>>,
    calls: Mutex<Vec<Call>>,
}

impl Authority {
    pub fn turned(&self, agent: usize, at: Duration, turn: Turn) {
        self.turns.lock().expect("not poisoned").entry(agent).or_default().push((at, turn));
    }

    pub fn called(&self, call: Call) {
        self.calls.lock().expect("not poisoned").push(call);
    }

    pub fn verdict(&self) -> Verdict {
        let turns = self.turns.lock().expect("not poisoned");
        let mut verdict = Verdict::default();
        for call in self.calls.lock().expect("not poisoned").iter() {
            let turns = turns.get(&call.agent).map_or(&[][..], Vec::as_slice);
            match throughout(turns, call) {
                Some(Turn::Taken) => verdict.judge(call),
                Some(Turn::Given) => verdict.note(call),
                _ => {}
            }
        }
        let removals = turns.values().flatten().filter(|(_, turn)| *turn == Turn::Taken);
        verdict.removals = removals.count();
        verdict
    }
}

/// The last turn before the call, if there was none during it.
fn throughout(turns: &[(Duration, Turn)], call: &Call) -> Option<Turn> {
    let before = turns.partition_point(|(at, _)| *at <= call.sent);
    let during = turns.get(before).is_some_and(|(at, _)| *at <= call.done);
    (!during).then(|| turns[..before].last().map(|(_, turn)| *turn)).flatten()
}

#[derive(Debug, Default)]
pub struct Verdict {
    pub removals: usize,
    /// Answered reads of those who had lost the right all the while, and those of them that showed something.
    pub reads: usize,
    pub leaked: Vec<Call>,
    /// Their answered writes, and those of them that were accepted.
    pub writes: usize,
    pub accepted: Vec<Call>,
    /// The numbers of all their writes: nothing of these may be found afterwards.
    pub tried: BTreeSet<usize>,
    /// What those who had the right all the while got at least once: reads that show something, and accepted writes.
    pub granted: BTreeMap<&'static str, usize>,
    /// Answers that they got from a cache.
    pub hits: usize,
}

impl Verdict {
    fn judge(&mut self, call: &Call) {
        let Some(_) = call.status else { return };
        *(if call.is_write { &mut self.writes } else { &mut self.reads }) += 1;
        self.tried.extend(call.is_write.then_some(call.number));
        if call.shows {
            self.leaked.push(call.clone());
        }
        if call.is_write && call.succeeded() {
            self.accepted.push(call.clone());
        }
    }

    fn note(&mut self, call: &Call) {
        self.hits += usize::from(call.is_hit && call.shows);
        if call.succeeded() && (call.is_write || call.shows) {
            *self.granted.entry(call.what).or_default() += 1;
        }
    }

    pub fn judged(&self) -> usize {
        self.reads + self.writes
    }

    pub fn is_flawless(&self) -> bool {
        self.leaked.is_empty() && self.accepted.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { removals, writes, leaked, accepted, hits, .. } = self;
        let (judged, leaks, took) = (self.judged(), leaked.len(), accepted.len());
        writeln!(
            out,
            "P2: {judged} judged calls after {removals} removals, {leaks} leaked, {writes} writes tried, {took} accepted; \
             {hits} hits of members"
        )?;
        leaked.iter().chain(accepted).take(5).try_for_each(|call| writeln!(out, "  {call:?}"))
    }
}
