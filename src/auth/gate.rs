//! The gate: one autocommit statement that every call passes before anything is read. It knows at
//! once what was revoked, removed or suspended, whatever any cache believes.

use sqlx::{FromRow, PgExecutor};
use time::OffsetDateTime;

use crate::error::Result;
use crate::ids::{AgentUid, CircleUid, ExternalId, KeyId, ScopeId, SigningKeyId, Tag, TenantId};

/// What a call asks the gate. One of `key` and `tenant` is given.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// The key presented, or the one that a token was made from.
    pub key: Option<KeyId>,
    /// The tenant that another issuer's token names.
    pub tenant: Option<TenantId>,
    /// The key that a token of ours says it was signed with.
    pub signed_by: Option<SigningKeyId>,
    /// The agent that a token was bound to when it was made.
    pub narrowed_to: Option<AgentUid>,
    /// The agent of the path or of `Cairn-Agent`.
    pub subject: Option<ExternalId>,
    /// The circle of the path.
    pub circle: Option<ExternalId>,
}

/// What the database says about a credential and the agent it is used for; the function also tells when
/// Postgres started.
#[derive(Debug, FromRow)]
pub struct Passage {
    pub tenant_id: TenantId,
    pub tenant_status: String,
    pub tenant_tag: Option<Tag>,
    pub embedding_pin: String,
    pub auto_create_agents: bool,
    pub tokens_valid_from: Option<OffsetDateTime>,
    /// The version of the secret that names and seals what is cached for the tenant.
    pub cache_secret: Option<i32>,
    /// This and the next two: of the key, where there is one.
    pub secret_hash: Option<Vec<u8>>,
    pub scopes: Option<Vec<String>>,
    pub key_live: Option<bool>,
    /// The public half of the key that signed, while it is live.
    pub signer: Option<Vec<u8>>,
    pub bound_uid: Option<AgentUid>,
    pub bound_id: Option<ExternalId>,
    pub agent_uid: Option<AgentUid>,
    pub agent_tag: Option<Tag>,
    pub circle_ids: Option<Vec<String>>,
    pub circle_roles: Option<Vec<String>>,
    pub circle_contents: Option<Vec<ScopeId>>,
    pub circle_tags: Option<Vec<Option<Tag>>>,
    /// This and the next four: of the circle of the path, where there is one.
    #[sqlx(default)]
    pub path_circle: Option<CircleUid>,
    #[sqlx(default)]
    pub path_content: Option<ScopeId>,
    #[sqlx(default)]
    pub path_board: Option<ScopeId>,
    #[sqlx(default)]
    pub path_content_tag: Option<Tag>,
    #[sqlx(default)]
    pub path_board_tag: Option<Tag>,
    /// This and the next two: the tenant's quotas of calls, where it has one.
    pub requests_per_second: Option<i32>,
    pub concurrent_requests: Option<i32>,
    pub tokens_per_minute: Option<i32>,
    pub keep_queries: bool,
    pub rewarm: bool,
    pub checked_at: OffsetDateTime,
}

pub async fn pass(connection: impl PgExecutor<'_>, question: &Question) -> Result<Option<Passage>> {
    // Looking for a circle takes a fifth of the gate's time, even for none: where the path has none, the gate that
    // knows no circles of paths is asked.
    let sql = match question.circle {
        Some(_) => "SELECT * FROM pass_gate($1, $2, $3, $4, $5, $6)",
        None => "SELECT * FROM pass_gate($1, $2, $3, $4, $5)",
    };
    let passage = sqlx::query_as(sql)
        .bind(question.key)
        .bind(question.tenant)
        .bind(question.signed_by)
        .bind(question.narrowed_to)
        .bind(&question.subject);
    let passage = match &question.circle {
        Some(circle) => passage.bind(circle),
        None => passage,
    };
    Ok(passage.fetch_optional(connection).await?)
}
