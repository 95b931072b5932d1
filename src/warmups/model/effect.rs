//! What a run did for those who asked afterwards.

use serde::Serialize;
use utoipa::ToSchema;

use crate::usage::AgentUse;

/// Recalls of the agents among the targets, in the hour before a run began and in the hour after it ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = WarmupEffect)]
pub struct Effect {
    pub before: Rate,
    pub after: Rate,
    /// False while the hour after has not passed.
    pub complete: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = WarmupHitRate)]
pub struct Rate {
    pub recalls: i64,
    /// Null where nobody asked.
    #[schema(minimum = 0, maximum = 1)]
    pub hit_rate: Option<f64>,
}

impl From<AgentUse> for Rate {
    fn from(counts: AgentUse) -> Self {
        let AgentUse { recalls, hits } = counts;
        Self { recalls, hit_rate: (recalls > 0).then(|| hits as f64 / recalls as f64) }
    }
}
