//! The API, tested from outside: a real server on a free port, a real Postgres, a database of its own for
//! every test. One binary, one file a feature.

mod agents;
mod auth;
mod bad_input;
mod caches;
mod circles;
mod cli;
mod cursors;
mod embedder;
mod export;
mod faults;
mod harness;
mod history;
mod hot_index;
mod idempotency;
mod isolation;
mod jobs;
mod limits;
mod memories;
mod metrics;
mod migrations;
mod openai;
mod openapi;
mod optional;
mod recall;
mod redis;
mod rerank;
mod restore;
mod security;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "tests/chaos uses the rest")]
mod support;
mod tenants;
mod tiny_bert;
mod tokens;
mod usage;
mod warmups;
mod who_acts;
mod writes;
