//! What is counted, and how it is added up.

mod counts;
mod noted;
mod span;
mod tally;

pub use counts::{AgentUse, KindUse, LayerUse, ScopeUse};
pub use noted::{Noted, QueryUse, Recalled};
pub use span::{DayUse, Grain, Query, Span, Stored};
pub use tally::Tally;
