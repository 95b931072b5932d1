//! Looking at the caches and clearing them: statistics, analytics with advice, flush.

mod advice;
mod model;
mod store;
mod service;
mod routes;

pub use routes::routes;
