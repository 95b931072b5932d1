//! Agents: who remembers. Each has a private scope of its own.

mod model;
mod routes;
mod service;
mod store;

pub use model::{Agent, AgentProfile, AgentStats, MetadataPatch};
pub use routes::routes;
pub use service::{ensure, ensure_to_count};
pub use store::{delete, lock, lock_exclusively};
