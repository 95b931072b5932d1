//! SQL of jobs, by what it is about.

mod claims;
mod jobs;
mod planning;
mod purge;
mod runs;

pub use claims::{ClaimRow, Holder, Renewal, claim, find_claimed, hand_back, hold, renew, update_finished};
pub use jobs::{delete, find, find_for_update, insert, list, update};
pub use planning::{count_waiting, find_due, lag_secs, list_due, now, update_next_due};
pub use purge::{delete_finished, tenants_to_purge};
pub use runs::{find_run, insert_run, list_runs, request_cancel};
