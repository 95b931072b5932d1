//! Recall: find the memories that answer a question. Candidates come from Postgres, in one
//! snapshot; scoring and packing are pure.

mod candidates;
mod model;
mod pack;
mod rank;
mod routes;
mod service;

pub use routes::routes;
