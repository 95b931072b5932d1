//! Looking at the caches and clearing them: statistics, flush.

mod model;
mod store;
mod service;
mod routes;

pub use routes::routes;
