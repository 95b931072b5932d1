//! Tenants: the customers of an installation, each behind its own border.

mod model;
mod service;
mod store;

pub use model::TenantSummary;
pub use service::{create, find_by_name, list};
