//! Claiming a run to work on it.

use std::time::Duration;

use anyhow::anyhow;

use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::{JobId, TenantId, WorkerId};
use crate::jobs::model::{Kind, RunState};
use crate::jobs::service::Lease;
use crate::jobs::store::{self, ClaimRow};

/// How many workers a run may lose before it is given up.
const MOST_ATTEMPTS: i32 = 5;

/// Who works, on what.
#[derive(Debug, Clone)]
pub struct Claimer {
    pub worker: WorkerId,
    pub kinds: Vec<Kind>,
    /// How long a run stays with a worker that is not heard of.
    pub lease: Duration,
}

/// What a claim came to.
pub enum Claim {
    /// There is nothing to do.
    Nothing,
    Run(Lease),
    /// A run whose worker was lost.
    TakenOver(Lease),
    /// Nobody works on this any more: it was to be cancelled, or lost too many workers.
    Ended {
        tenant: TenantId,
        job: JobId,
        kind: Kind,
        state: RunState,
    },
}

/// Claims the run that has waited longest; those of tenants that have none under way come first.
pub async fn claim(db: &Db, claimer: &Claimer) -> Result<Claim> {
    let secs = claimer.lease.as_secs_f64();
    let claimed = store::claim(db.background(), claimer.worker, secs, &claimer.kinds, MOST_ATTEMPTS).await?;
    let Some(row) = claimed else { return Ok(Claim::Nothing) };
    match row.outcome.as_str() {
        "claimed" => Ok(lease(db, claimer, &row).await?.map_or(Claim::Nothing, Claim::Run)),
        "taken_over" => Ok(lease(db, claimer, &row).await?.map_or(Claim::Nothing, Claim::TakenOver)),
        "cancelled" => Ok(ended(&row, RunState::Cancelled)),
        "given_up" => Ok(ended(&row, RunState::Failed)),
        other => Err(Error::Internal(anyhow!("a claim came to {other:?}"))),
    }
}

fn ended(row: &ClaimRow, state: RunState) -> Claim {
    Claim::Ended { tenant: row.tenant_id, job: row.job_id, kind: row.kind, state }
}

/// None: the job was deleted meanwhile.
async fn lease(db: &Db, claimer: &Claimer, row: &ClaimRow) -> Result<Option<Lease>> {
    let found = store::find_claimed(&mut db.read_beside(row.tenant_id).await?, row).await?;
    Ok(found.map(|(job, run)| Lease::of(db.clone(), claimer, row.tenant_id, job, run)))
}
