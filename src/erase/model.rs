//! What is left of a tenant: the receipt of its erasure.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::FromRow;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::ids::TenantId;

/// Every table with rows of tenants, in an order that foreign keys allow. The stamps go first: a scope without a
/// stamp is cached by nobody. The tenant itself goes last, so that an erasure cut short is found again.
pub const TABLES: [&str; 29] = [
    "scope_epochs",
    "scope_removals",
    "placement_terms",
    "placements",
    "scope_indexes",
    "memory_history",
    "memories",
    "forgotten_memories",
    "shares",
    "task_moves",
    "tasks",
    "circle_events",
    "circle_recalls",
    "circle_members",
    "circles",
    "api_keys",
    "agents",
    "idempotency_keys",
    "job_runs",
    "jobs",
    "usage_layers",
    "usage_kinds",
    "usage_agents",
    "usage_scopes",
    "usage_queries",
    "usage_days",
    "tenant_totals",
    "tenant_secrets",
    "tenants",
];

/// The receipt of a tenant's erasure.
#[derive(Debug, Clone, Serialize, ToSchema, FromRow)]
pub struct TenantReceipt {
    pub tenant_id: TenantId,
    #[serde(with = "time::serde::rfc3339")]
    pub requested_at: OffsetDateTime,
    /// Null while it goes on.
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    /// Rows deleted so far, by table.
    #[sqlx(json)]
    pub counts: BTreeMap<String, i64>,
}
