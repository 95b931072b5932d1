//! A run that a worker has claimed. Others see that it is worked on for as long as the lease is renewed. It may end
//! without the worker knowing: one that was stopped and goes on later finds that it can commit nothing.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::db::{Db, WriteTx};
use crate::error::{Code, Error, Result};
use crate::ids::TenantId;
use crate::jobs::model::{Job, Run, RunState, Standing};
use crate::jobs::service::Claimer;
use crate::jobs::store::{self, Holder, Renewal};

pub struct Lease {
    db: Db,
    holder: Holder,
    job: Job,
    run: Run,
    length: Duration,
    progress: Mutex<Option<Value>>,
}

impl Lease {
    pub(super) fn of(db: Db, claimer: &Claimer, tenant: TenantId, job: Job, run: Run) -> Self {
        let holder =
            Holder { tenant, job: job.job_id, due_at: run.due_at, worker: claimer.worker, attempt: run.attempt };
        let progress = Mutex::new(run.progress.clone());
        Self { db, holder, job, run, length: claimer.lease, progress }
    }

    pub fn tenant(&self) -> TenantId {
        self.holder.tenant
    }

    pub fn job(&self) -> &Job {
        &self.job
    }

    /// The run as it was claimed; its progress is what the attempt before left.
    pub fn run(&self) -> &Run {
        &self.run
    }

    pub fn length(&self) -> Duration {
        self.length
    }

    /// Says how far the work is; kept with the next heartbeat.
    pub fn note(&self, progress: Value) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }

    /// What was noted last.
    pub fn progress(&self) -> Option<Value> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Renews the lease, keeps what was noted, and tells how the worker stands.
    pub async fn heartbeat(&self) -> Result<Standing> {
        let progress = self.progress();
        let renewal = Renewal { lease_secs: self.length.as_secs_f64(), progress: progress.as_ref() };
        let mut tx = self.db.write_beside(self.holder.tenant).await?;
        let standing = match store::renew(&mut tx, &self.holder, renewal).await? {
            Some(false) => Standing::Held,
            Some(true) => Standing::Cancelled,
            None => Standing::Lost,
        };
        match tx.commit(&[]).await {
            // The tenant is being erased.
            Err(error) if error.code() == Code::Unauthenticated => Ok(Standing::Lost),
            done => done.map(|()| standing),
        }
    }

    /// Refuses to go on in this transaction if the run is another's; until it ends, nobody takes the run over.
    pub async fn fence(&self, tx: &mut WriteTx) -> Result<()> {
        if store::hold(tx, &self.holder).await? {
            return Ok(());
        }
        Err(Error::refused(Code::WrongState, "the run is no longer this worker's"))
    }

    /// Ends the run well; whether it was still the worker's.
    pub async fn finish(&self, report: &Value) -> Result<bool> {
        self.end(RunState::Succeeded, Some(report), None).await
    }

    /// Ends the run for this reason, with as much of a report as there is.
    pub async fn fail(&self, reason: &str) -> Result<bool> {
        self.end(RunState::Failed, self.progress().as_ref(), Some(reason)).await
    }

    /// Ends the run because somebody asked for that.
    pub async fn cancel(&self) -> Result<bool> {
        self.end(RunState::Cancelled, self.progress().as_ref(), None).await
    }

    async fn end(&self, state: RunState, report: Option<&Value>, error: Option<&str>) -> Result<bool> {
        let mut tx = self.db.write_beside(self.holder.tenant).await?;
        let ended = store::update_finished(&mut tx, &self.holder, state, report, error).await?;
        tx.commit(&[]).await?;
        Ok(ended)
    }

    /// Puts the run back into the queue, for another worker to go on with.
    pub async fn hand_back(&self) -> Result<bool> {
        let mut tx = self.db.write_beside(self.holder.tenant).await?;
        let handed = store::hand_back(&mut tx, &self.holder, self.progress().as_ref()).await?;
        tx.commit(&[]).await?;
        Ok(handed)
    }
}
