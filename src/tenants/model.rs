//! What a tenant is to its operator.

use time::OffsetDateTime;

use crate::ids::TenantId;

#[derive(Debug, Clone, sqlx::FromRow)]
pub struct TenantSummary {
    pub tenant_id: TenantId,
    pub name: String,
    pub status: String,
    pub embedding_pin: String,
    pub created_at: OffsetDateTime,
}
