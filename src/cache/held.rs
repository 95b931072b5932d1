//! An entry of the local layer, and what comes to pass for it there: whether it was of use, and when its time is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::cache::Kind;
use crate::cache::entry::Entry;
use crate::cache::stats::{Happening, Layer, TenantStats};
use crate::ids::ScopeId;

/// What an entry takes besides its value: keys, stamp, counters, its places in maps; an estimate, rounded up.
pub(super) const OVERHEAD: usize = 320;
/// The same for each scope it is listed under.
const OVERHEAD_OF_SCOPE: usize = 96;

pub struct Held {
    pub entry: Entry,
    pub kind: Kind,
    /// Whose changes make it worthless.
    pub scopes: Vec<ScopeId>,
    pub lifetime: Duration,
    /// It ends because its time is over, and would still hold.
    pub ends_by_time: bool,
    pub stats: Arc<TenantStats>,
    pub life: Life,
}

/// What comes to pass for an entry while it is here.
pub struct Life {
    ends: Instant,
    over: AtomicBool,
    used: AtomicBool,
    /// What was here before had been hit, and was made worthless at that moment.
    awaited_since: Option<Instant>,
}

impl Life {
    /// `used`: a hit in Redis brought it here.
    pub fn new(lifetime: Duration, used: bool) -> Self {
        let ends = Instant::now() + lifetime;
        Self { ends, over: AtomicBool::new(false), used: AtomicBool::new(used), awaited_since: None }
    }
}

impl Held {
    /// Whether it may still be taken.
    pub fn is_live(&self) -> bool {
        let live = Instant::now() < self.life.ends;
        if !live {
            self.count_end();
        }
        live
    }

    /// Its time is over: counted once.
    pub fn count_end(&self) {
        if !self.life.over.swap(true, Ordering::Relaxed) {
            self.stats.count(self.kind, Layer::Local, Happening::Expiration);
        }
    }

    /// A hit came to it.
    pub fn use_it(&self) {
        if !self.life.used.load(Ordering::Relaxed) && self.cease_unused() {
            self.tell_first_hit();
        }
    }

    /// It comes to the layer. Since when a hit to what it is made for is waited for, if one is.
    pub fn begin(&mut self, awaited_since: Option<Instant>) {
        self.life.awaited_since = awaited_since;
        if self.life.used.load(Ordering::Relaxed) {
            self.tell_first_hit();
        } else {
            self.stats.signs(self.kind).hold_unused(self.bytes() as i64);
        }
    }

    fn tell_first_hit(&self) {
        if let Some(since) = self.life.awaited_since {
            self.stats.signs(self.kind).first_hit(since.elapsed());
        }
    }

    /// It counts as used, or as gone, from here on; whether it was unused until now.
    pub fn cease_unused(&self) -> bool {
        let unused = !self.life.used.swap(true, Ordering::Relaxed);
        if unused {
            self.stats.signs(self.kind).hold_unused(-(self.bytes() as i64));
        }
        unused
    }

    /// Since when a hit to what it was made for is waited for, if it becomes worthless now.
    pub fn awaited_from_now(&self) -> Option<Instant> {
        if self.life.used.load(Ordering::Relaxed) { Some(Instant::now()) } else { self.life.awaited_since }
    }

    pub fn bytes(&self) -> usize {
        self.entry.value.len() + OVERHEAD + self.scopes.len() * OVERHEAD_OF_SCOPE
    }
}
