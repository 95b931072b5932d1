//! What was called and what the caches did: noted in memory, written minute by minute, rolled up to hours and days.
//! And what is recalled most: by a keyed hash, the request itself only where the tenant lets it be kept.

mod model;
mod service;
mod store;

pub use model::{AgentUse, DayUse, Grain, KindUse, LayerUse, Noted, Query, Recalled, ScopeUse, Span, Stored};
pub use service::{Recorder, RolledUp, open_query, purge, roll_up};
pub use store::{
    ChangedScope, KindStep, LayerStep, count, days, find_places, find_totals, forget_scopes, forget_texts, kinds,
    last_stored, layers, of_agent, of_agents, scopes, top_agents, top_queries,
};
