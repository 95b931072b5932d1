//! Use cases of memories, in the order in which things happen: embed, lock, decide, bump, write, commit.

mod edit;
mod export;
mod forget;
mod history;
mod remember;

pub use edit::{Edit, edit};
pub use export::Export;
pub use forget::{erase_author, forget, forget_matching, purge_expired};
pub use history::{HistoryRequest, history};
pub use remember::{Outcome, Remembered, remember, remembered_before};

use crate::app::App;
use crate::cache::Owner;
use crate::db::{Intent, WriteTx};
use crate::error::{Code, Error, Result};
use crate::ids::{AgentUid, ExternalId, ScopeId};
use crate::memories::model::Reach;
use crate::memories::placements::Numbered;

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
