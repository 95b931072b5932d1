//! Jobs: what is done without being asked, and when. Postgres is the truth: any instance may find a job due, and any may
//! work on it, but each due time has one run, and a run one worker at a time. What is to be done is told by the kind.

mod model;
mod service;
mod store;

pub use model::{Cause, Chore, Due, Job, JobFields, Kind, Run, RunState, Schedule, Standing};
pub use service::{Claim, Claimer, Lease, claim, enqueue, enqueue_for, ensure_chores, plan};
pub use store::{
    delete, delete_finished, find, find_for_update, find_run, insert, insert_run, lag_secs, list, list_runs, now,
    request_cancel, tenants_to_purge, update,
};
