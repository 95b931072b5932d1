//! SQL of circles, by what it is about.

pub mod circles;
pub mod context;
pub mod locks;
pub mod log;
pub mod members;
pub mod metrics;
pub mod moves;
pub mod purge;
pub mod recalls;
pub mod task_locks;
pub mod tasks;
