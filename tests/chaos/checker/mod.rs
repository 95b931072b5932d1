//! Judges a history afterwards. A read may show the state of the last write that was acknowledged, or proved by
//! an earlier read, before it began; or that of a later write which was sent before it ended and not refused.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::history::{Act, Event, Hurt, Layer, Outcome, Seen, State, Subject, Window};

/// How long a server may need to find its way back to what it depends on.
const RECOVERY: Duration = Duration::from_secs(2);

/// How long questions may go on being answered by words after the provider is back: its breaker rests and probes.
const DEGRADED: Duration = Duration::from_secs(8);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Written, acknowledged, not there.
    Missing,
    /// Forgotten or revoked, acknowledged, there.
    Resurrected,
    /// An earlier version than was acknowledged.
    Older,
    /// A state that nobody wrote, or not yet.
    Unasked,
    /// Not the subject's at all, or twice.
    Strange,
    /// No answer, or a wrong one, without a fault that excuses it.
    Failed,
    /// Answered by words alone: from a cache, or long after the provider was back.
    Degraded,
}

#[derive(Debug, Clone)]
pub struct Violation {
    pub kind: Kind,
    pub event: Event,
}

#[derive(Debug, Default)]
pub struct Verdict {
    /// Reads that began after a write to their subject was acknowledged.
    pub pairs: usize,
    pub violations: Vec<Violation>,
}

impl Verdict {
    /// Whether anything was shown that was no longer, or not yet, so.
    pub fn is_stale(&self) -> bool {
        self.violations.iter().any(|one| matches!(one.kind, Kind::Missing | Kind::Resurrected | Kind::Older))
    }
}

pub fn check(events: &[Event], windows: &[Window]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut subjects: BTreeMap<Subject, Vec<&Event>> = BTreeMap::new();
    for event in events {
        subjects.entry(event.subject).or_default().push(event);
        let kinds = [is_inexcusable(event, windows).then_some(Kind::Failed), degraded(event, windows)];
        verdict.violations.extend(kinds.into_iter().flatten().map(|kind| Violation { kind, event: event.clone() }));
    }
    for events in subjects.values() {
        Life::of(events).check(events, &mut verdict);
    }
    verdict
}

/// The writes to a subject, in order, and when each was known to be done.
struct Life<'a> {
    writes: Vec<&'a Event>,
    /// When, which write (from 1; 0 is the time before the first); both grow.
    known: Vec<(Duration, usize)>,
}

impl<'a> Life<'a> {
    fn of(events: &[&'a Event]) -> Self {
        let mut writes: Vec<&Event> = events.iter().copied().filter(|event| outcome(event).is_some()).collect();
        writes.sort_by_key(|write| write.sent);
        let acknowledged = |(index, write): (usize, &&Event)| {
            (outcome(write) == Some(Outcome::Acknowledged)).then_some((write.done, index + 1))
        };
        let mut known: Vec<_> = writes.iter().enumerate().filter_map(acknowledged).collect();
        let first = known.first().map(|(when, _)| *when);
        let mut life = Self { writes, known: Vec::new() };
        known.extend(events.iter().filter_map(|event| Some((event.done, life.proved_by(event, first)?))));
        known.sort_unstable();
        let mut latest = 0;
        for (_, index) in &mut known {
            latest = latest.max(*index);
            *index = latest;
        }
        life.known = known;
        life
    }

    /// The write that a read shows to be done. Nothing may also mean that the first was not done yet.
    fn proved_by(&self, event: &Event, first: Option<Duration>) -> Option<usize> {
        let seen = seen(event)?;
        if seen == &Seen::Nothing && first.is_none_or(|first| first > event.sent) {
            return None;
        }
        let index = self.writes.iter().position(|write| shows(seen, write))?;
        (self.writes[index].sent < event.done).then_some(index + 1)
    }

    fn check(&self, events: &[&Event], verdict: &mut Verdict) {
        for event in events {
            let Some(seen) = seen(event) else { continue };
            let before = self.known.partition_point(|(when, _)| *when <= event.sent);
            let last = before.checked_sub(1).map_or(0, |index| self.known[index].1);
            verdict.pairs += usize::from(last > 0);
            if let Some(kind) = self.judge(seen, event, last) {
                verdict.violations.push(Violation { kind, event: (*event).clone() });
            }
        }
    }

    /// What is wrong with a read that began when this write was known to be done.
    fn judge(&self, seen: &Seen, event: &Event, last: usize) -> Option<Kind> {
        let state = last.checked_sub(1).map(|index| self.writes[index]);
        let is_last = state.map_or(seen == &Seen::Nothing, |write| shows(seen, write));
        let is_later =
            |write: &&Event| shows(seen, write) && write.sent < event.done && outcome(write) != Some(Outcome::Refused);
        if is_last || self.writes[last..].iter().any(is_later) {
            return None;
        }
        Some(match (seen, state.map(|write| &write.act)) {
            (Seen::Strange(_), _) => Kind::Strange,
            (Seen::Nothing, _) => Kind::Missing,
            (_, Some(Act::Write { to: State::Gone, .. })) => Kind::Resurrected,
            (_, _) if self.writes[..last].iter().any(|write| shows(seen, write)) => Kind::Older,
            _ => Kind::Unasked,
        })
    }
}

fn outcome(event: &Event) -> Option<Outcome> {
    if let Act::Write { outcome, .. } = event.act { Some(outcome) } else { None }
}

fn seen(event: &Event) -> Option<&Seen> {
    if let Act::Read { seen, .. } = &event.act { seen.as_ref() } else { None }
}

fn shows(seen: &Seen, write: &Event) -> bool {
    match (&write.act, seen) {
        (Act::Write { to: State::Gone, .. }, Seen::Nothing) => true,
        (Act::Write { to: State::Version(to), .. }, Seen::Version(seen)) => to == seen,
        _ => false,
    }
}

fn is_inexcusable(event: &Event, windows: &[Window]) -> bool {
    let Some(trouble) = &event.trouble else { return false };
    let is_write = outcome(event).is_some();
    !windows.iter().filter(|window| window.touches(event, RECOVERY)).any(|window| match window.hurt {
        Hurt::Redis => false,
        Hurt::Postgres => trouble.starts_with('5') || trouble.starts_with("no answer"),
        Hurt::Provider => is_write && trouble == "503 embedding_unavailable",
        // Writes elsewhere may wait for the locks that a stopped server holds.
        Hurt::Server(hurt) => hurt == event.instance || (is_write && trouble.starts_with('5')),
    })
}

fn degraded(event: &Event, windows: &[Window]) -> Option<Kind> {
    let Act::Read { degraded: true, from, .. } = event.act else { return None };
    let provider_is_hurt =
        windows.iter().any(|window| window.hurt == Hurt::Provider && window.touches(event, DEGRADED));
    (from != Layer::None || !provider_is_hurt).then_some(Kind::Degraded)
}
