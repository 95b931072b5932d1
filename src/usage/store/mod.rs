//! SQL of usage: one table a subject, all of one form.

mod days;
mod queries;
mod read;
mod table;
mod write;

pub use days::{count, days, find_totals, insert_day, is_counted, last_stored};
pub use queries::{add_queries, forget_texts, may_keep_texts, top_queries, trim_queries};
pub use read::{
    ChangedScope, KindStep, LayerStep, find_places, kinds, layers, of_agent, of_agents, scopes, top_agents,
};
pub use table::{AGENTS, KINDS, LAYERS, SCOPES, TABLES};
pub use write::{add, delete_old, delete_old_queries, forget_scopes, live_scopes, roll_up, tenants};
