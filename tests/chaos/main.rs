//! Promises that must hold whatever breaks: servers, dependencies and the way to them are hurt under load, and the
//! history of what was promised is checked. `make chaos` is the long form.

mod caller;
mod checker;
mod circle;
mod controls;
mod faults;
mod history;
mod instance;
mod jobs;
mod report;
mod restore;
mod runs;
mod site;
mod stand_ins;
#[expect(dead_code, reason = "tests/api uses the rest")]
#[path = "../support/mod.rs"]
mod support;
mod workload;
mod writer;
