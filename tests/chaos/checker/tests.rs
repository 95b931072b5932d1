//! Histories written by hand: each kind of violation is found, and whatever may happen is let pass.

use std::time::Duration;

use super::{Kind, check};
use crate::history::{Act, Event, Hurt, Layer, Outcome, Seen, State, Subject, Window};

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn event(sent: u64, done: u64, act: Act) -> Event {
    Event { subject: Subject::Memory(1), instance: 0, sent: at(sent), done: at(done), act, trouble: None }
}

fn write(sent: u64, done: u64, to: State, outcome: Outcome) -> Event {
    event(sent, done, Act::Write { to, outcome })
}

fn acknowledged(sent: u64, done: u64, to: State) -> Event {
    write(sent, done, to, Outcome::Acknowledged)
}

fn read(sent: u64, done: u64, seen: Seen) -> Event {
    event(sent, done, Act::Read { seen: Some(seen), from: Layer::Local, degraded: false })
}

fn degraded(sent: u64, from: Layer) -> Event {
    event(sent, sent + 5, Act::Read { seen: Some(Seen::Nothing), from, degraded: true })
}

fn failed(mut event: Event, trouble: &str) -> Event {
    if let Act::Read { seen, .. } = &mut event.act {
        *seen = None;
    }
    event.trouble = Some(trouble.into());
    event
}

fn hurt(hurt: Hurt, from: u64, to: u64) -> Window {
    Window { hurt, name: "test", from: at(from), to: at(to) }
}

/// What is found in a history, in whatever order its events were logged.
fn kinds(events: &[Event], windows: &[Window]) -> Vec<Kind> {
    let found = |events: &[Event]| check(events, windows).violations.iter().map(|one| one.kind).collect::<Vec<_>>();
    let reversed: Vec<Event> = events.iter().rev().cloned().collect();
    let mut backwards = found(&reversed);
    backwards.sort();
    let mut kinds = found(events);
    kinds.sort();
    assert_eq!(kinds, backwards);
    kinds
}

const FIRST: State = State::Version(1);
const SECOND: State = State::Version(2);

#[test]
fn what_was_acknowledged_has_to_be_there() {
    let history = [acknowledged(0, 10, FIRST), read(11, 20, Seen::Nothing)];
    assert_eq!(kinds(&history, &[]), [Kind::Missing]);
    assert_eq!(check(&history, &[]).pairs, 1);
}

#[test]
fn what_was_forgotten_must_not_be_there() {
    let history = [acknowledged(0, 10, FIRST), acknowledged(20, 30, State::Gone), read(31, 40, Seen::Version(1))];
    assert_eq!(kinds(&history, &[]), [Kind::Resurrected]);
}

#[test]
fn an_earlier_version_is_found() {
    let history = [acknowledged(0, 10, FIRST), acknowledged(20, 30, SECOND), read(31, 40, Seen::Version(1))];
    assert_eq!(kinds(&history, &[]), [Kind::Older]);
}

#[test]
fn a_version_that_nobody_wrote_or_that_was_refused_is_found() {
    let refused = write(20, 30, SECOND, Outcome::Refused);
    for other in [refused, acknowledged(50, 60, SECOND)] {
        let history = [acknowledged(0, 10, FIRST), other, read(31, 40, Seen::Version(2))];
        assert_eq!(kinds(&history, &[]), [Kind::Unasked]);
    }
    assert_eq!(kinds(&[read(0, 10, Seen::Version(1))], &[]), [Kind::Unasked]);
}

#[test]
fn another_subjects_memory_is_found() {
    let history = [acknowledged(0, 10, FIRST), read(11, 20, Seen::Strange("stone 2".into()))];
    assert_eq!(kinds(&history, &[]), [Kind::Strange]);
}

#[test]
fn what_happens_at_the_same_time_may_be_seen_or_not() {
    for seen in [Seen::Version(1), Seen::Version(2), Seen::Nothing] {
        let history = [
            acknowledged(0, 10, FIRST),
            acknowledged(20, 50, SECOND),
            acknowledged(51, 90, State::Gone),
            read(30, 60, seen),
        ];
        assert_eq!(kinds(&history, &[]), []);
    }
    let before = [acknowledged(10, 30, FIRST), read(0, 20, Seen::Nothing), read(11, 20, Seen::Version(1))];
    assert_eq!(kinds(&before, &[]), []);
    assert_eq!(check(&before, &[]).pairs, 0);
}

#[test]
fn a_write_of_unknown_outcome_may_be_done_at_any_time_or_never() {
    let unknown = write(20, 30, SECOND, Outcome::Unknown);
    for seen in [Seen::Version(1), Seen::Version(2)] {
        let history = [acknowledged(0, 10, FIRST), unknown.clone(), read(500, 510, seen)];
        assert_eq!(kinds(&history, &[]), []);
    }
    let history = [acknowledged(0, 10, FIRST), unknown, read(500, 510, Seen::Nothing)];
    assert_eq!(kinds(&history, &[]), [Kind::Missing]);
}

#[test]
fn what_one_reader_saw_every_later_one_sees() {
    for (to, seen) in [(SECOND, Seen::Version(2)), (State::Gone, Seen::Nothing)] {
        let history = [
            acknowledged(0, 10, FIRST),
            write(20, 30, to, Outcome::Unknown),
            read(40, 50, Seen::Version(1)),
            read(60, 70, seen),
            read(65, 80, Seen::Version(1)),
            read(71, 80, Seen::Version(1)),
        ];
        let expected = if to == State::Gone { Kind::Resurrected } else { Kind::Older };
        assert_eq!(kinds(&history, &[]), [expected], "the last one alone");
    }
}

#[test]
fn subjects_do_not_concern_each_other() {
    let mut other = acknowledged(0, 10, FIRST);
    other.subject = Subject::Key(1);
    assert_eq!(kinds(&[other, read(20, 30, Seen::Nothing)], &[]), []);
}

#[test]
fn a_failure_needs_an_excuse() {
    let recall = failed(read(100, 110, Seen::Nothing), "503 dependency_unavailable");
    let mut elsewhere = recall.clone();
    elsewhere.instance = 1;
    for (event, window, is_excused) in [
        (&recall, hurt(Hurt::Redis, 0, 200), false),
        (&recall, hurt(Hurt::Provider, 0, 200), false),
        (&recall, hurt(Hurt::Postgres, 105, 200), true),
        (&recall, hurt(Hurt::Postgres, 111, 200), false),
        (&recall, hurt(Hurt::Postgres, 0, 50), true),
        (&recall, hurt(Hurt::Server(0), 0, 200), true),
        (&elsewhere, hurt(Hurt::Server(0), 0, 200), false),
    ] {
        let expected: &[Kind] = if is_excused { &[] } else { &[Kind::Failed] };
        assert_eq!(kinds(std::slice::from_ref(event), std::slice::from_ref(&window)), expected, "{window:?}");
    }
    let mut late = recall.clone();
    (late.sent, late.done) = (at(60_000), at(60_001));
    assert_eq!(kinds(&[late], &[hurt(Hurt::Postgres, 0, 200)]), [Kind::Failed]);
}

#[test]
fn a_provider_that_is_down_excuses_writes_and_a_refusal_is_never_excused() {
    let writing = write(100, 110, FIRST, Outcome::Refused);
    for (trouble, hurts, is_excused) in [
        ("503 embedding_unavailable", Hurt::Provider, true),
        ("503 dependency_unavailable", Hurt::Provider, false),
        ("404 not_found", Hurt::Postgres, false),
    ] {
        let history = [failed(writing.clone(), trouble)];
        let expected: &[Kind] = if is_excused { &[] } else { &[Kind::Failed] };
        assert_eq!(kinds(&history, &[hurt(hurts, 0, 200)]), expected, "{trouble}");
    }
}

#[test]
fn an_answer_by_words_alone_is_never_kept() {
    let down = [hurt(Hurt::Provider, 0, 1_000)];
    assert_eq!(kinds(&[degraded(500, Layer::None)], &down), []);
    assert_eq!(kinds(&[degraded(500, Layer::Redis)], &down), [Kind::Degraded]);
    assert_eq!(kinds(&[degraded(60_000, Layer::None)], &down), [Kind::Degraded]);
    assert_eq!(kinds(&[degraded(500, Layer::None)], &[hurt(Hurt::Redis, 0, 1_000)]), [Kind::Degraded]);
}
