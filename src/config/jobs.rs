//! Settings of jobs.

use anyhow::bail;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Jobs {
    /// False: this instance neither looks for what is due nor works on it.
    pub enabled: bool,
    /// How many runs this instance works on at once.
    pub workers: usize,
    /// How long a run stays with an instance that is not heard of, before another takes it over.
    pub lease_secs: u64,
    /// How long is kept what runs came to.
    pub keep_runs_days: u64,
    /// How long is kept which memories left a scope. An index of a scope that was not used for longer is built anew.
    pub keep_removals_hours: u64,
}

impl Default for Jobs {
    fn default() -> Self {
        Self { enabled: true, workers: 2, lease_secs: 30, keep_runs_days: 30, keep_removals_hours: 24 }
    }
}

impl Jobs {
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        let numbers = [
            ("workers", self.workers as u64, 1, 100),
            ("lease_secs", self.lease_secs, 3, 3_600),
            ("keep_runs_days", self.keep_runs_days, 1, 3_650),
            ("keep_removals_hours", self.keep_removals_hours, 1, 8_760),
        ];
        for (name, value, least, most) in numbers {
            if !(least..=most).contains(&value) {
                bail!("configuration: setting jobs.{name}: must be {least} to {most}, not {value}");
            }
        }
        Ok(())
    }
}
