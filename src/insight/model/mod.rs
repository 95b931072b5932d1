//! What can be asked about caches, and the answers.

mod analytics;
mod frame;
mod stats;

pub use analytics::{AnalyticsAgent, AnalyticsQuery, CacheAnalytics, Invalidations, KindSteps};
pub use frame::Frame;
pub use stats::{CacheStats, Flush, FlushReceipt, KindStats, RedisState};
