//! Noting, writing, rolling up.

mod recorder;
mod rollup;
mod write;

pub use recorder::Recorder;
pub use rollup::{RolledUp, purge, roll_up};
pub use write::open_query;
