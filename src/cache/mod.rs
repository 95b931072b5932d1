//! What was computed, kept for as long as it is proved fresh: a layer in this process in front of Redis. No answer
//! rests on Redis, on an event, or on a clock of this machine; `stamp` says on what it does.
//!
//! ```text
//! key        what a thing is called          stamp    what proves it fresh
//! vault      naming and sealing by tenant    entry    the two together, packed
//! local      the layer in this process       flights  one computes, others wait
//! lookup     whether an entry is taken       store    the layers together
//! through    computed, or taken from them    stats    what is counted
//! eviction   events free memory early        ghosts   what is here no more, and why
//! warm       ready before somebody asks      signs    what tells of size and lifetimes
//! held       an entry while it is there      series   what Prometheus sees of it
//! ```
//!
//! Knows no feature: what a key is made of and what a stamp covers, the features say.

mod entry;
mod eviction;
mod flights;
mod ghosts;
mod held;
mod key;
mod kind;
mod local;
mod lookup;
mod series;
mod signs;
mod stamp;
mod stats;
mod store;
mod through;
mod vault;
mod warm;

pub use entry::{Cost, Entry, Millis, millis};
pub use eviction::follow;
pub use flights::{Boarding, Follow, Landed, Lead};
pub use key::{Digest, Key, Value};
pub use kind::Kind;
pub use lookup::{Hit, Made, Slot, Wanted};
pub use signs::{FIRST_HIT_BOUNDS, Sign, SignCounts};
pub use stamp::{Stamp, fingerprint};
pub use stats::{Happening, Invalidated, KindCounts, Layer, Saving, Stats, TenantStats};
pub use store::Cache;
pub use through::{Answer, CacheUse, Computed, Proven, Sought, Source, Timing};
pub use vault::{Owner, Vault};
pub use warm::Warmth;
