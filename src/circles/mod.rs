//! Circles: agents that share memory and work on tasks, each with a role that holds from the very next call on.
//! Membership is read by the gate; what a member may change is checked again under the locks of the write.

mod model;
mod store;
mod service;
mod routes;

pub use model::{MOST_CIRCLES, MOST_MEMBERS};
pub use routes::routes;
pub use service::{RecallCounts, leave_all, list_members, overview, transfer, warm_context};
pub use store::purge::{FIGURES_KEPT, purge_figures};
