//! Settings of recall.

use anyhow::bail;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recall {
    /// A scope with more vectors gets an index of its own, which is approximate.
    pub exact_scope_max: u64,
    /// How many such indexes there may be, over all tenants. Each makes every write a little slower.
    pub scope_indexes_max: usize,
    /// The memory of Postgres that building one may take. One that does not fit is built slowly.
    pub scope_index_build_mb: u64,
}

impl Default for Recall {
    fn default() -> Self {
        Self { exact_scope_max: 50_000, scope_indexes_max: 32, scope_index_build_mb: 1_024 }
    }
}

impl Recall {
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        let numbers = [
            ("exact_scope_max", self.exact_scope_max, 100, 10_000_000),
            ("scope_indexes_max", self.scope_indexes_max as u64, 0, 500),
            ("scope_index_build_mb", self.scope_index_build_mb, 64, 1_048_576),
        ];
        for (name, value, least, most) in numbers {
            if !(least..=most).contains(&value) {
                bail!("configuration: setting recall.{name}: must be {least} to {most}, not {value}");
            }
        }
        Ok(())
    }
}
