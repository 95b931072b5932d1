//! Memories: remember, read, edit, forget. A memory is stored once and placed in every scope it
//! is visible in; every change of it bumps all of those scopes.

mod fields;
mod model;
mod patch;
mod stub;
pub use stub::*;
mod text;
mod filter;
mod store;
mod locks;
mod history;
mod placements;
mod proof;
mod service;
mod routes;

pub use filter::MemoryFilter;
pub use model::{Memory, NewMemory, Reach};
pub use placements::halved;
pub use proof::Proof;
pub use routes::routes;
pub use service::{Outcome, Remembered, check_model, erase_author, purge_expired};
pub use store::find_many;
pub use text::terms;
