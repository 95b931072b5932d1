//! Jobs: what is done without being asked, and when.

mod schedule;

pub use schedule::Schedule;
