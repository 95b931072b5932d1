//! Warm-ups: what they are, when they are due, what a run of one does; and warming again after changes.

mod life;
mod preview;
mod rewarm;
mod runs;

use serde_json::{Value, json};

/// A warm-up of ada's kettle that is never due by itself for as long as a test takes.
pub fn kettle() -> Value {
    json!({
        "name": "breakfast",
        "cron": "30 7 1 1 *",
        "timezone": "Europe/Berlin",
        "targets": [{"agent_id": "ada", "queries": ["Where is the kettle?"]}],
    })
}
