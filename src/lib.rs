//! Cairn: a multi-tenant memory server for AI agents. The map of the house, in the order of ranks:
//! a module uses what stands above it, never what stands below (`tests/architecture.rs` holds this).

// Words: no I/O.
pub mod error; // what can go wrong, by meaning
pub mod ids; // identifiers as types
pub mod json; // strict JSON, read field by field
pub mod words; // bounded texts, names, metadata
pub mod config; // settings, plain data
pub mod telemetry; // log and metrics
pub mod sabotage; // guards that a chaos build can switch off
pub mod breaker; // stops asking what fails

// Tools: know no feature.
pub mod secrets; // what is sealed with the operator's key
pub mod redis; // the way to Redis: deadlines, breaker
pub mod rates; // how much may be asked for in a time
pub mod turns; // something scarce, given out fairly
pub mod events; // what happened, told to whoever wants to know
pub mod db; // pools, tenant-bound connections, the write transaction, migrations, embedded Postgres
pub mod cache; // what was computed, kept as long as it is proved fresh
pub mod bert; // the network of local models
pub mod embeddings; // text to vectors
pub mod rerank; // a second look at the best candidates
pub mod http; // what routes share: errors, bodies, pages, ETags
pub mod app; // all of the above, built once

// Features: each may use the tools and the features before it.
pub mod auth; // keys, tokens, the gate, permissions
pub mod usage; // what was called, what the caches did, minute by minute
pub mod tenants; // the customers
pub mod jobs; // what is done without being asked, and when
pub mod agents; // who remembers
pub mod memories; // remember, read, edit, forget
pub mod circles; // who shares with whom, and works on what
pub mod recall; // find what answers a question
pub mod warmups; // what will be asked, asked beforehand
pub mod insight; // what the caches do, and flushing them
pub mod erase; // what takes several features' stores

// Assembly: the only place that lists features.
pub mod server; // middleware, routes, specification
pub mod scheduler; // the clock and the workers of jobs
pub mod health; // the open routes
pub mod cli; // one file a verb
