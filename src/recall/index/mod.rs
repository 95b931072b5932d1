//! Scopes in memory: vectors to multiply, words to look up, columns to filter by. An index is a copy of a scope at one
//! commit and is used only where its tag is the one that Postgres has: see `scopes`. Postgres stays the truth.

mod catch_up;
mod metrics;
mod scope;
mod scopes;
mod search;
mod store;
mod vectors;
mod words;

pub use metrics::Metrics;
pub use scope::{Placed, ScopeIndex, Version};
pub use scopes::{Held, HotScopes, Seen};
pub use search::{Wanted, pool};
