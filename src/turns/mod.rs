//! Turns at something scarce, given out fairly: who waits for a connection or a thread waits behind its own tenant's
//! work, and not behind another's. Knows nothing of what the turns are for.

mod queue;
mod schedule;

pub use queue::{Full, Haste, Rules, Turn, Turns};
