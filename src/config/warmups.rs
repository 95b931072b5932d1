//! Settings of warm-ups, and of warming again after changes.

use anyhow::bail;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Warmups {
    /// The most that a run makes ready in a second; fewer while callers feel it.
    pub items_per_second: u32,
    /// Whether answers that are asked for often are computed anew after a change, for tenants that want it.
    pub rewarm: bool,
    /// How often an answer must have been asked for in the last five minutes to count as asked for often.
    pub rewarm_after_hits: u32,
    /// Answers computed anew in a second, of all tenants together.
    pub rewarms_per_second: u32,
}

impl Default for Warmups {
    fn default() -> Self {
        Self { items_per_second: 20, rewarm: true, rewarm_after_hits: 3, rewarms_per_second: 20 }
    }
}

impl Warmups {
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        let numbers = [
            ("items_per_second", self.items_per_second, 1, 1_000),
            ("rewarm_after_hits", self.rewarm_after_hits, 1, 1_000_000),
            ("rewarms_per_second", self.rewarms_per_second, 1, 1_000),
        ];
        for (name, value, least, most) in numbers {
            if !(least..=most).contains(&value) {
                bail!("configuration: setting warmups.{name}: must be {least} to {most}, not {value}");
            }
        }
        Ok(())
    }
}
