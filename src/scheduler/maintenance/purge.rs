//! What each chore removes, by the stores of those whose it is.

use std::time::Duration;

use crate::config::Jobs;
use crate::db::{self, WriteTx};
use crate::error::Result;
use crate::ids::{ScopeId, TenantId};
use crate::jobs::Chore;
use crate::{auth, circles, jobs, memories};

/// How long what a chore removes has been kept.
pub fn kept(settings: &Jobs, chore: Chore) -> Duration {
    match chore {
        // These say themselves when they end.
        Chore::PurgeMemories | Chore::PurgeSigningKeys => Duration::ZERO,
        // These know no tenant by what it has.
        Chore::RollUpUsage | Chore::PurgeUsage | Chore::RewarmRelease | Chore::IndexScopes => Duration::ZERO,
        Chore::PurgeRemovals => Duration::from_secs(settings.keep_removals_hours * 60 * 60),
        Chore::PurgeReceipts => db::RECEIPTS_KEPT,
        Chore::PurgeRuns => Duration::from_secs(settings.keep_runs_days * 24 * 60 * 60),
        Chore::PurgeCircleFigures => circles::FIGURES_KEPT,
    }
}

/// Removes a batch; returns how many rows, and the scopes that this touched.
pub async fn purge(
    tx: &mut WriteTx,
    tenant: TenantId,
    (chore, kept): (Chore, Duration),
    limit: i64,
) -> Result<(u64, Vec<ScopeId>)> {
    let removed = match chore {
        Chore::PurgeMemories => return memories::purge_expired(tx, tenant, limit).await,
        Chore::PurgeRemovals => memories::purge_removals(tx, tenant, kept, limit).await,
        Chore::PurgeReceipts => db::purge_receipts(tx, tenant, limit).await,
        Chore::PurgeRuns => jobs::delete_finished(tx, tenant, kept, limit).await,
        Chore::PurgeSigningKeys => auth::purge_signing_keys(tx).await,
        Chore::PurgeCircleFigures => circles::purge_figures(tx, tenant, limit).await,
        Chore::RollUpUsage | Chore::PurgeUsage | Chore::RewarmRelease | Chore::IndexScopes => Ok(0),
    }?;
    Ok((removed, Vec::new()))
}
