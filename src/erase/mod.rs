//! Erasing: what takes the rows of several features. An agent goes in one transaction, a tenant in batches.

mod model;
mod routes;
mod service;
mod store;
mod tenant;

pub use model::{TABLES, TenantReceipt};
pub use routes::routes;
pub use tenant::{Eraser, begin, count_rows, finish};
