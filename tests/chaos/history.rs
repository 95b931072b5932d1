//! What callers asked for and what they were told, and what was hurt meanwhile, by one clock.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Something with one writer that nobody else has: a memory with its tag, or an API key. A writer that is not told
/// what became of a write never writes to that subject again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    Memory(u32),
    Key(u32),
    /// What an agent, by its number, may do in the circle; how that is judged, see `circle`.
    Right(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Version(u32),
    /// Forgotten, or revoked.
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Acknowledged,
    /// Certainly not done.
    Refused,
    /// Done, not done, or still to be done.
    Unknown,
}

/// What a recall showed of its subject, or whether a key was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Nothing,
    Version(u32),
    /// What no order of writes explains, as another subject's memory.
    Strange(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    Local,
    Redis,
    /// Computed.
    None,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Write {
        to: State,
        outcome: Outcome,
    },
    Read {
        /// None: there was no answer.
        seen: Option<Seen>,
        from: Layer,
        /// By words alone, because the question could not be embedded.
        degraded: bool,
    },
}

#[derive(Debug, Clone)]
pub struct Event {
    pub subject: Subject,
    pub instance: usize,
    pub sent: Duration,
    pub done: Duration,
    pub act: Act,
    /// Why there was no answer, or which one that a caller should not get.
    pub trouble: Option<String>,
}

/// What suffers while something is broken, and whose failures that excuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hurt {
    /// Excuses nothing.
    Redis,
    Postgres,
    Provider,
    Server(usize),
}

/// A fault, from before it was there until after it was gone.
#[derive(Debug, Clone)]
pub struct Window {
    pub hurt: Hurt,
    pub name: &'static str,
    pub from: Duration,
    pub to: Duration,
}

pub struct History {
    started: Instant,
    events: Mutex<Vec<Event>>,
    windows: Mutex<Vec<Window>>,
}

impl History {
    pub fn new() -> Self {
        Self { started: Instant::now(), events: Mutex::default(), windows: Mutex::default() }
    }

    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn log(&self, event: Event) {
        self.events.lock().expect("not poisoned").push(event);
    }

    /// A fault is known from its beginning, and its end is not known before it comes.
    pub fn hurt(&self, name: &'static str, hurt: Hurt) -> usize {
        let mut windows = self.windows.lock().expect("not poisoned");
        windows.push(Window { hurt, name, from: self.now(), to: Duration::MAX });
        windows.len() - 1
    }

    pub fn healed(&self, window: usize) {
        self.windows.lock().expect("not poisoned")[window].to = self.now();
    }

    pub fn events(&self) -> Vec<Event> {
        self.events.lock().expect("not poisoned").clone()
    }

    pub fn windows(&self) -> Vec<Window> {
        self.windows.lock().expect("not poisoned").clone()
    }
}

impl Window {
    /// Whether it lasted, and a while longer, during any of this time.
    pub fn touches(&self, event: &Event, longer: Duration) -> bool {
        self.from <= event.done && event.sent <= self.to.saturating_add(longer)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, instance, sent, done, act, trouble } = self;
        write!(out, "{:9.4} to {:9.4} at {instance}: {subject:?} ", sent.as_secs_f64(), done.as_secs_f64())?;
        match act {
            Act::Write { to, outcome } => write!(out, "write {to:?}: {outcome:?}")?,
            Act::Read { seen, from, degraded } => {
                write!(out, "read {seen:?} from {from:?}{}", if *degraded { ", by words alone" } else { "" })?;
            }
        }
        trouble.as_ref().map_or(Ok(()), |trouble| write!(out, " ({trouble})"))
    }
}
