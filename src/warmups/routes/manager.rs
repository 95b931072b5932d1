//! Who may manage warm-ups, settled before a byte of a body is read.

use std::future::{Ready, ready};
use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use crate::auth::{Caller, JobManager};
use crate::error::{Code, Error, Result};

/// Manages the jobs of the whole tenant. Warm-ups hold what all its agents are asked, so one agent has no business
/// with them.
pub struct Manager(JobManager);

impl Deref for Manager {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl FromRequest for Manager {
    type Error = Error;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        ready(JobManager::from_request(request, payload).into_inner().and_then(of_the_whole_tenant))
    }
}

fn of_the_whole_tenant(manager: JobManager) -> Result<Manager> {
    match manager.acting() {
        None => Ok(Manager(manager)),
        Some(_) => {
            let detail =
                "warm-ups belong to the whole tenant: use a key that is not bound to an agent, without Cairn-Agent";
            Err(Error::refused(Code::InsufficientScope, detail))
        }
    }
}
