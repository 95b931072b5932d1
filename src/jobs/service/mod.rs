//! Use cases of jobs: find what is due, hand it to a worker, keep it the worker's, end it.

mod chores;
mod claim;
mod lease;
mod plan;

pub use chores::{enqueue, enqueue_for, ensure_chores};
pub use claim::{Claim, Claimer, claim};
pub use lease::Lease;
pub use plan::plan;
