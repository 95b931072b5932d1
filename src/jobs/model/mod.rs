//! What jobs are made of, and when they are due.

mod due;
mod job;
mod kind;
mod run;
mod schedule;

pub use due::Due;
pub use job::{Job, JobFields};
pub use kind::{Chore, Kind};
pub use run::{Cause, Run, RunState, Standing};
pub use schedule::Schedule;
