//! What a run came to, for people.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::checker::{Verdict, Violation};
use crate::circle;
use crate::history::{Act, Event, Hurt, Layer, Outcome, Subject, Window};

/// Violations that are shown with their history.
const SHOWN: usize = 2;

/// Events of a subject that are shown.
const LINES: usize = 30;

pub struct Report {
    pub events: Vec<Event>,
    pub windows: Vec<Window>,
    pub verdict: Verdict,
    pub deadlocks: usize,
    /// Where there was a circle.
    pub circle: Option<circle::Outcome>,
}

impl Report {
    pub fn reads(&self, from: Layer) -> usize {
        let is_it =
            |event: &&Event| matches!(&event.act, Act::Read { seen: Some(_), from: layer, .. } if *layer == from);
        self.events.iter().filter(is_it).count()
    }

    fn writes(&self, wanted: Outcome) -> usize {
        let is_it = |event: &&Event| {
            matches!(&event.act, Act::Write { outcome, .. } if *outcome == wanted)
                && !matches!(event.subject, Subject::Right(_))
        };
        self.events.iter().filter(is_it).count()
    }

    /// How long recalls took while Redis and nothing else was hurt, or while nothing was.
    fn latencies(&self, redis_is_hurt: bool) -> Latencies {
        let during = |event: &Event| {
            let hurt = |window: &&Window| window.touches(event, Duration::from_secs(1));
            let hurts: Vec<Hurt> = self.windows.iter().filter(hurt).map(|window| window.hurt).collect();
            hurts.iter().all(|hurt| *hurt == Hurt::Redis) && hurts.is_empty() != redis_is_hurt
        };
        let is_answer = |event: &&Event| matches!(&event.act, Act::Read { seen: Some(_), .. });
        let reads = self.events.iter().filter(is_answer).filter(|event| during(event));
        let mut took: Vec<Duration> = reads.map(|event| event.done - event.sent).collect();
        took.sort_unstable();
        Latencies(took)
    }

    fn violation(&self, violation: &Violation, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { kind, event } = violation;
        writeln!(out, "\n{kind:?}:\n  {event}\nfaults and the history of it:")?;
        let near = |window: &&Window| window.touches(event, Duration::from_secs(3));
        for Window { name, hurt, from, to } in self.windows.iter().filter(near) {
            let to = if *to == Duration::MAX { "the end".into() } else { format!("{:.4}", to.as_secs_f64()) };
            writeln!(out, "  {:9.4} to {to:>9}: {name} ({hurt:?})", from.as_secs_f64())?;
        }
        let mut life: Vec<&Event> = self.events.iter().filter(|other| other.subject == event.subject).collect();
        life.sort_by_key(|event| event.sent);
        let until = life.partition_point(|other| other.sent <= event.done);
        life[until.saturating_sub(LINES)..until].iter().try_for_each(|event| writeln!(out, "  {event}"))
    }
}

struct Latencies(Vec<Duration>);

impl fmt::Display for Latencies {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |share: f64| self.0.get((self.0.len() as f64 * share) as usize).or(self.0.last());
        let shown = |share| at(share).map_or("-".to_owned(), |took| format!("{:.1}", took.as_secs_f64() * 1e3));
        write!(out, "p50 {} ms, p99 {} ms, longest {} ms of {}", shown(0.5), shown(0.99), shown(1.0), self.0.len())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [acknowledged, refused, unknown] =
            [Outcome::Acknowledged, Outcome::Refused, Outcome::Unknown].map(|outcome| self.writes(outcome));
        writeln!(out, "writes: {acknowledged} acknowledged, {refused} refused, {unknown} of unknown outcome")?;
        let layers = [Layer::Local, Layer::Redis, Layer::None].map(|layer| self.reads(layer));
        let [local, redis, computed] = layers;
        let share = (local + redis) as f64 * 100.0 / layers.iter().sum::<usize>().max(1) as f64;
        writeln!(
            out,
            "recalls: {local} from the local layer, {redis} from Redis, {computed} computed: {share:.0} % hits"
        )?;
        let mut faults: BTreeMap<&str, usize> = BTreeMap::new();
        self.windows.iter().for_each(|window| *faults.entry(window.name).or_default() += 1);
        let faults: Vec<String> = faults.iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(out, "faults: {}: {}", self.windows.len(), faults.join(", "))?;
        writeln!(out, "recalls with everything whole: {}", self.latencies(false))?;
        writeln!(out, "recalls while Redis is hurt: {}", self.latencies(true))?;
        let (pairs, violations) = (self.verdict.pairs, self.verdict.violations.len());
        writeln!(out, "P1: {pairs} checked pairs, {violations} violations, {} deadlocks", self.deadlocks)?;
        self.circle.iter().try_for_each(|circle| write!(out, "{circle}"))?;
        self.verdict.violations.iter().take(SHOWN).try_for_each(|violation| self.violation(violation, out))
    }
}
