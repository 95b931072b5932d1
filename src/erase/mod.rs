//! Erasing: what takes the stores of several features, in one transaction.

mod routes;
mod service;

pub use routes::routes;
