//! Use cases of memories, in the order in which things happen: embed, lock, decide, bump, write, commit.

mod circle;
mod edit;
mod export;
mod fill;
mod forget;
mod ground;
mod history;
mod moves;
mod plain;
mod plan;
mod remember;
mod share;

pub use circle::{clear_circle, unshare_all_of};
pub use edit::{Edit, edit};
pub use export::Export;
pub use fill::fill;
pub use forget::{erase_author, forget, forget_matching, purge_expired, purge_removals};
pub use history::{HistoryRequest, history};
pub use remember::{Outcome, Remembered, remember, remembered_before};
pub use share::{Sharing, share, unshare};

use crate::app::App;
use crate::auth::{Membership, Role};
use crate::cache::Owner;
use crate::db::{Intent, WriteTx};
use crate::error::{Code, Error, Result};
use crate::ids::{AgentUid, ExternalId, MemoryId, ScopeId, TenantId};
use crate::memories::model::Reach;
use crate::memories::placements::{self, Numbered};

/// On whose behalf memories are remembered.
#[derive(Debug, Clone)]
pub struct Author {
    pub intent: Intent,
    pub owner: Owner,
    pub agent: ExternalId,
    /// The agent's incarnation as the gate saw it.
    pub uid: Option<AgentUid>,
    /// An agent that is not there yet may be made.
    pub may_create: bool,
    pub reach: Reach,
    /// Where the agent is a member, as the gate saw it.
    pub memberships: Vec<Membership>,
}

impl Author {
    /// The agent's role in a circle, as the gate saw it.
    fn role_in(&self, circle: &ExternalId) -> Option<Role> {
        self.memberships.iter().find(|membership| membership.circle == *circle).map(|membership| membership.role)
    }
}

/// Vectors of another model than the tenant's would never be found again.
pub fn check_model(app: &App, pin: &str) -> Result<()> {
    if app.embedder.pin() == pin {
        return Ok(());
    }
    Err(Error::unavailable(
        Code::EmbeddingModelMismatch,
        "this tenant was filled with another embedding model than this server runs; ask your operator",
        anyhow::anyhow!("the tenant is pinned to {pin}, the server runs {}", app.embedder.pin()),
    ))
}

/// The numbers that the bump gave to these scopes.
fn numbered(tx: &WriteTx, scopes: &[ScopeId]) -> Result<Vec<Numbered>> {
    scopes.iter().map(|scope| Ok((*scope, tx.n(*scope)?))).collect()
}

/// Locks every scope of these locked memories and some more, all in one order, and bumps them; returns them.
async fn bump_all(tx: &mut WriteTx, tenant: TenantId, ids: &[MemoryId], also: &[ScopeId]) -> Result<Vec<ScopeId>> {
    let mut touched = placements::scopes_of(tx, tenant, ids).await?;
    touched.extend(also);
    touched.sort_unstable();
    touched.dedup();
    if !touched.is_empty() {
        tx.lock_scopes(&touched).await?;
        #[cfg(feature = "sabotage")]
        tx.pretend_bumped(&touched).await?;
        tx.bump(&touched).await?;
    }
    Ok(touched)
}
