//! Warm-ups: what will be asked is asked beforehand, on a schedule, so that whoever asks finds the answer ready. A
//! warm-up is a job of a tenant; when it runs, and on which instance, is the business of `jobs`.

mod model;
mod routes;
mod service;

pub use routes::routes;
pub use service::{run, start_rewarming};
