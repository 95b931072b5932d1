//! The gate: one autocommit statement that every call passes before anything is read. It knows at
//! once what was revoked, removed or suspended, whatever any cache believes.

use sqlx::{FromRow, PgPool};
use time::OffsetDateTime;

use crate::error::Result;
use crate::ids::{AgentUid, ExternalId, KeyId, ScopeId, Tag, TenantId};

/// What the database says about a credential and the agent it is used for; the function also tells the version of the
/// tenant's cache secret and when Postgres started, for those who keep copies of answers.
#[derive(Debug, FromRow)]
pub struct Passage {
    pub tenant_id: TenantId,
    pub tenant_status: String,
    pub tenant_tag: Option<Tag>,
    pub embedding_pin: String,
    pub auto_create_agents: bool,
    pub secret_hash: Vec<u8>,
    pub scopes: Vec<String>,
    pub key_live: bool,
    pub bound_id: Option<ExternalId>,
    pub agent_uid: Option<AgentUid>,
    pub agent_tag: Option<Tag>,
    pub circle_ids: Option<Vec<String>>,
    pub circle_roles: Option<Vec<String>>,
    pub circle_contents: Option<Vec<ScopeId>>,
    pub circle_tags: Option<Vec<Option<Tag>>>,
    pub checked_at: OffsetDateTime,
}

/// `subject` is the agent of the path or of `Cairn-Agent`.
pub async fn pass(pool: &PgPool, key: KeyId, subject: Option<&ExternalId>) -> Result<Option<Passage>> {
    let passage = sqlx::query_as("SELECT * FROM gate($1, $2)").bind(key).bind(subject).fetch_optional(pool).await?;
    Ok(passage)
}
