//! Memories: remember, read, edit, forget. A memory is stored once and placed in every scope it
//! is visible in; every change of it bumps all of those scopes.

mod fields;
mod model;
mod patch;
mod marks;
mod language;
mod text;
mod thread;
mod filter;
mod store;
mod locks;
mod history;
mod placements;
mod arrivals;
mod proof;
mod removals;
mod shares;
mod service;
mod routes;

pub use arrivals::halved;
pub use fields::Kind;
pub use filter::{Filterable, MemoryFilter};
pub use locks::SharedIn;
pub use marks::Mark;
pub use model::{Memory, NewMemory, Reach};
pub use proof::Proof;
pub use routes::routes;
pub use service::{
    Outcome, Remembered, check_model, clear_circle, erase_author, fill, purge_expired, purge_removals, unshare_all_of,
};
pub use store::find_many;
pub use text::{indexed_text, is_stop_word, terms};
pub use thread::Thread;
