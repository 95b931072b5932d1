//! Settings of recall.

use anyhow::bail;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recall {
    /// Memory for scopes that are searched without Postgres; 0: none are.
    pub hot_index_mb: u64,
    /// A scope with more memories is never held there.
    pub hot_scope_memories: usize,
    /// Scopes that are read into it at once; who comes while so many are being read is answered by Postgres.
    pub hot_loads: usize,
    /// A scope with more vectors gets an index of its own, which is approximate.
    pub exact_scope_max: u64,
    /// How many such indexes there may be, over all tenants. Each makes every write a little slower.
    pub scope_indexes_max: usize,
    /// The memory of Postgres that building one may take. One that does not fit is built slowly.
    pub scope_index_build_mb: u64,
}

impl Default for Recall {
    fn default() -> Self {
        Self {
            hot_index_mb: 512,
            hot_scope_memories: 200_000,
            hot_loads: 2,
            exact_scope_max: 50_000,
            scope_indexes_max: 32,
            scope_index_build_mb: 1_024,
        }
    }
}

impl Recall {
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        let numbers = [
            ("hot_index_mb", self.hot_index_mb, 0, 1_048_576),
            ("hot_scope_memories", self.hot_scope_memories as u64, 1, 10_000_000),
            ("hot_loads", self.hot_loads as u64, 1, 64),
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
