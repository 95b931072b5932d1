//! Tenants: the customers of an installation, each behind its own border.

mod model;
mod quotas;
mod routes;
mod service;
mod store;

pub use model::{Settings, Status, Tenant, TenantPatch, Usage};
pub use quotas::{QuotaPatch, Quotas};
pub use routes::routes;
pub use service::{Founding, cache_secret_purpose, create, find_by_name, list, patch};
pub use store::{find, find_for_update, update};
