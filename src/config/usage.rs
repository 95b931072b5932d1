//! Settings of the counting of usage.

use anyhow::bail;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Usage {
    /// False: nothing is written down of what was called and what the caches did.
    pub enabled: bool,
    /// How often what was counted in memory is written.
    pub write_secs: u64,
}

impl Default for Usage {
    fn default() -> Self {
        Self { enabled: true, write_secs: 10 }
    }
}

impl Usage {
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        if !(1..=60).contains(&self.write_secs) {
            bail!("configuration: setting usage.write_secs: must be 1 to 60, not {}", self.write_secs);
        }
        Ok(())
    }
}
