//! Warm-ups: what will be asked is asked beforehand, on a schedule, so that whoever asks finds the answer ready. A
//! warm-up is a job of a tenant; when it runs, and on which instance, is the business of `jobs`.

mod model;
mod routes;
mod service;

pub use model::WarmupRun;
pub use routes::routes;
pub use service::{note_release, recent, rewarm_release, run, start_rewarming};
